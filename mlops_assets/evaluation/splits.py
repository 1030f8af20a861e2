"""Which rows are learned from, and which nobody may see before the verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.errors import TrainingError
from mlops_assets.timeline import Timeline, as_datetime64, iso

Mask = npt.NDArray[np.bool_]
LEAST_ROWS = 50
"""Rows that a fit needs at least; below that an AutoML run's three frames are noise."""


@dataclass(frozen=True)
class Fold:
    """One fit of the walk: rows to learn from, rows to answer."""

    fit: Mask
    answer: Mask


@dataclass(frozen=True)
class Split:
    """How the rows of a training set are used; all masks have its length.

    Attributes:
        usable: rows whose history window lies within the data.
        search: rows on which features and recipe may be chosen.
        holdout: rows that judge.
        folds: the fits of the validation strategy, covering the hold-out.
        one_fit: the fit of the strategy `last`.
    """

    usable: Mask
    search: Mask
    holdout: Mask
    folds: list[Fold]
    one_fit: Fold

    @property
    def rows(self) -> int:
        """Rows of the hold-out."""
        return int(self.holdout.sum())

    def answered(self, rows: npt.NDArray[np.int64]) -> Split:
        """The same with only these positions of the hold-out: missed events count for neither side."""
        kept = np.zeros(len(self.holdout), dtype=bool)
        kept[rows] = True
        folds = [Fold(fold.fit, fold.answer & kept) for fold in self.folds]
        return Split(
            self.usable,
            self.search,
            self.holdout & kept,
            [fold for fold in folds if fold.answer.any()],
            Fold(self.one_fit.fit, self.one_fit.answer & kept),
        )


def split(timeline: Timeline, event_times: pd.Series, champion_as_of: datetime | None) -> Split:
    """Cut labelled rows into those that may be learned from and the hold-out.

    The hold-out is the newest `validation.holdout`, all of it due at or after the champion's `as_of`; every fit ends
    where the labels were known when the first event that it answers was due.

    Args:
        timeline: the project's time.
        event_times: times of the labelled rows, aware UTC, sorted.
        champion_as_of: when the running champion's data were snapped; None without a champion.

    Raises:
        TrainingError: when too few rows are left to learn from.
    """
    validation = timeline.spec.problem.validation
    times = pd.DatetimeIndex(event_times).tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[ns]")
    usable = _usable(timeline, times)
    if not usable.any():
        raise _too_few(timeline, 0, "none has a whole history window behind it")
    since = timeline.grid.earlier(times[usable].max(keepdims=True), validation.holdout - timeline.every)
    holdout = usable & (times >= since)
    if champion_as_of is not None:
        holdout &= times >= as_datetime64(champion_as_of + timeline.horizon)
    if not holdout.any():
        empty = Fold(usable, holdout)
        return Split(usable, usable, holdout, [], empty)
    first = _moment(times[holdout].min())
    one_fit = Fold(usable & _known(timeline, times, timeline.due(first)), holdout)
    if int(one_fit.fit.sum()) < LEAST_ROWS:
        raise _too_few(timeline, int(one_fit.fit.sum()), f"their labels must be known by {iso(timeline.due(first))}")
    folds = [one_fit] if validation.step is None else _walk(timeline, times, usable, holdout, first, validation.step)
    return Split(usable, one_fit.fit, holdout, folds, one_fit)


def three_frames(search: Mask, shares: Sequence[float] = (0.7, 0.15, 0.15)) -> tuple[Mask, Mask, Mask]:
    """Cut the search rows by time for AutoML: to fit, to stop early on (later), to rank by (later still).

    Args:
        search: the rows that may be seen; rows are in time order.
        shares: of the search rows, in order; they sum up to 1.
    """
    positions = np.flatnonzero(search)
    first, second = int(len(positions) * shares[0]), int(len(positions) * (shares[0] + shares[1]))
    parts = (positions[:first], positions[first:second], positions[second:])
    masks = []
    for part in parts:
        mask = np.zeros(len(search), dtype=bool)
        mask[part] = True
        masks.append(mask)
    return masks[0], masks[1], masks[2]


def _usable(timeline: Timeline, times: npt.NDArray[np.datetime64]) -> Mask:
    history = timeline.spec.features.history
    usable = np.ones(len(times), dtype=bool)
    for column in history.columns if history else []:
        due = times - np.timedelta64(timeline.horizon)
        usable &= timeline.newest_known(due, column) >= timeline.history_steps - 1
    return usable


def _known(timeline: Timeline, times: npt.NDArray[np.datetime64], moment: datetime) -> Mask:
    return np.asarray(times <= as_datetime64(timeline.labelled_before(moment)))


def _walk(
    timeline: Timeline, times: npt.NDArray[np.datetime64], usable: Mask, holdout: Mask, first: datetime, step: timedelta
) -> list[Fold]:
    folds = []
    last = times[holdout].max()
    while as_datetime64(first) <= last:
        answer = holdout & (times >= as_datetime64(first)) & (times < as_datetime64(first + step))
        if answer.any():
            begins = _moment(times[answer].min())
            folds.append(Fold(usable & _known(timeline, times, timeline.due(begins)), answer))
        first += step
    return folds


def _moment(time: np.datetime64) -> datetime:
    return pd.Timestamp(time).to_pydatetime().replace(tzinfo=UTC)


def _too_few(timeline: Timeline, rows: int, why: str) -> TrainingError:
    return TrainingError(
        timeline.project,
        "training set",
        f"{rows} rows to learn from, at least {LEAST_ROWS} are needed ({why})",
        "let more windows be published and labelled first, or shorten features.history.length or validation.holdout",
    )
