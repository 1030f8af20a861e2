"""Which labelled rows a model may learn from, and which rows are held out for its evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.errors import TrainingError
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, as_datetime64, iso

Mask = npt.NDArray[np.bool_]
MIN_TRAINING_ROWS = 50
"""Fewest rows for a fit: with fewer, the three frames of an AutoML run are too small to compare models."""


@dataclass(frozen=True)
class Fold:
    """One fit of the validation: the rows to fit on, and the later rows to predict."""

    fit: Mask
    predict: Mask


@dataclass(frozen=True)
class Split:
    """How the rows of a training set are used; all masks have its length.

    Attributes:
        usable: rows whose feature window lies within the data.
        search: rows on which features and recipe may be chosen.
        holdout: rows that candidate and champion are compared on.
        folds: the fits of the validation strategy; together they predict the hold-out.
        one_fit: the single fit of the strategy `last`.
    """

    usable: Mask
    search: Mask
    holdout: Mask
    folds: list[Fold]
    one_fit: Fold

    @property
    def rows(self) -> int:
        """Number of rows in the hold-out."""
        return int(self.holdout.sum())

    def with_holdout_of(self, rows: npt.NDArray[np.int64]) -> Split:
        """Return the split with only these positions left in the hold-out."""
        kept = np.zeros(len(self.holdout), dtype=bool)
        kept[rows] = True
        folds = [Fold(fold.fit, fold.predict & kept) for fold in self.folds]
        return Split(
            self.usable,
            self.search,
            self.holdout & kept,
            [fold for fold in folds if fold.predict.any()],
            Fold(self.one_fit.fit, self.one_fit.predict & kept),
        )


def unseen_from(timeline: Timeline, champion_as_of: datetime) -> datetime:
    """Return the first event time that the champion has not been trained on: that of events due at or after `as_of`.

    Every count of unseen rows uses it: the check before a training that a person requests, and the hold-out.
    """
    return champion_as_of + timeline.horizon


def too_few_unseen_rows(spec: ProjectSpec, rows: int) -> str | None:
    """Return why a candidate cannot be evaluated on this number of unseen rows; None when there are enough."""
    if rows >= spec.promotion.min_rows:
        return None
    return f"Too few unseen labelled rows: {rows} of at least {spec.promotion.min_rows}"


def split(timeline: Timeline, event_times: pd.Series, champion_as_of: datetime | None) -> Split:
    """Divide labelled rows into those that may be learned from and the hold-out.

    The hold-out is the newest `validation.holdout`, as far as it begins at or after `unseen_from`. Each fit uses the
    labels that were known when the first event that it predicts was due.

    Args:
        timeline: the project's time.
        event_times: times of the labelled rows, aware UTC, sorted.
        champion_as_of: when the champion's training snapshot was taken; None without a champion.

    Raises:
        TrainingError: when too few rows are left to learn from.
    """
    validation = timeline.spec.problem.validation
    times = pd.DatetimeIndex(event_times).tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[ns]")
    usable = _has_feature_window(timeline, times)
    if not usable.any():
        raise _too_few(timeline, 0, "no row has a whole feature window before it")
    since = timeline.grid.earlier(times[usable].max(keepdims=True), validation.holdout - timeline.every)
    holdout = usable & (times >= since)
    if champion_as_of is not None:
        holdout &= times >= as_datetime64(unseen_from(timeline, champion_as_of))
    if not holdout.any():
        empty = Fold(usable, holdout)
        return Split(usable, usable, holdout, [], empty)
    first = _moment(times[holdout].min())
    one_fit = Fold(usable & _labelled_by(timeline, times, timeline.due(first)), holdout)
    if int(one_fit.fit.sum()) < MIN_TRAINING_ROWS:
        raise _too_few(timeline, int(one_fit.fit.sum()), f"their labels must be known by {iso(timeline.due(first))}")
    folds = (
        [one_fit]
        if validation.step is None
        else _walk_forward(timeline, times, usable, holdout, first, validation.step)
    )
    return Split(usable, one_fit.fit, holdout, folds, one_fit)


def three_frames(search: Mask, shares: Sequence[float] = (0.7, 0.15, 0.15)) -> tuple[Mask, Mask, Mask]:
    """Divide the search rows by time for AutoML: to fit, to stop early on (later), and to rank models (later still).

    Args:
        search: the rows that may be used; rows are in time order.
        shares: shares of the search rows, in order; their sum is 1.
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


def _has_feature_window(timeline: Timeline, times: npt.NDArray[np.datetime64]) -> Mask:
    features = timeline.spec.features.history
    usable = np.ones(len(times), dtype=bool)
    for column in features.columns if features else []:
        due = times - np.timedelta64(timeline.horizon)
        usable &= timeline.newest_known(due, column) >= timeline.feature_window_steps - 1
    return usable


def _labelled_by(timeline: Timeline, times: npt.NDArray[np.datetime64], moment: datetime) -> Mask:
    return np.asarray(times <= as_datetime64(timeline.labelled_before(moment)))


def _walk_forward(
    timeline: Timeline, times: npt.NDArray[np.datetime64], usable: Mask, holdout: Mask, first: datetime, step: timedelta
) -> list[Fold]:
    folds = []
    last = times[holdout].max()
    while as_datetime64(first) <= last:
        predict = holdout & (times >= as_datetime64(first)) & (times < as_datetime64(first + step))
        if predict.any():
            begins = _moment(times[predict].min())
            folds.append(Fold(usable & _labelled_by(timeline, times, timeline.due(begins)), predict))
        first += step
    return folds


def _moment(time: np.datetime64) -> datetime:
    return pd.Timestamp(time).to_pydatetime().replace(tzinfo=UTC)


def _too_few(timeline: Timeline, rows: int, why: str) -> TrainingError:
    return TrainingError(
        timeline.project,
        "training set",
        f"{rows} rows to learn from, at least {MIN_TRAINING_ROWS} are needed ({why})",
        "wait until more windows are published and labelled, or shorten features.history.length or validation.holdout",
    )
