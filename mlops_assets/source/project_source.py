"""Reads a project's rows through its own function.

Who reads decides how strictly. A window that is to be published is read whole or not at all: what is wrong with the
frame (columns, times, order, duplicates) is an error that names it; what is wrong with single values is for the
audit. An answer that is due cannot wait for that: of the past a bad value is none, and a bad event is not answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.errors import SourceError
from mlops_assets.prediction.inputs import EVENT_TIME
from mlops_assets.source.schema import cast, faults, null_faults
from mlops_assets.source.series import Kind, Problem, Series, series_of, wrong_columns
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.imports import import_function
from mlops_assets.timeline import Timeline, iso

DAY = timedelta(days=1)
COPIES = "copies"


class BadRowsError(SourceError):
    """What a source returned is no series of this project.

    Args:
        project: its name.
        place: function and span.
        expected: what was found, and what should have been there.
        remedy: what to do.
        kind: what is wrong.
        rows: those at fault, as the source returned them.
    """

    def __init__(self, project: str, place: str, expected: str, remedy: str, kind: Kind, rows: pd.DataFrame) -> None:
        super().__init__(project, place, expected, remedy)
        self.kind, self.rows = kind, rows

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.project, self.place, self.found, self.remedy, self.kind, self.rows)


class ProjectSource:
    """A project's `read` function, seen through its spec.

    Args:
        spec: the project.
        timeline: the project's time.
    """

    def __init__(self, spec: ProjectSpec, timeline: Timeline) -> None:
        self.spec, self.timeline = spec, timeline

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function that `data.source` names.

        Raises:
            SpecError: when it cannot be imported, or is no function.
        """
        return import_function(self.spec.name, "data.source", self.spec.data.source)

    # Strictly, for what is published

    def read(
        self, start: datetime, end: datetime, columns: Sequence[str] | None = None, *, allow_empty: bool = False
    ) -> pd.DataFrame:
        """All rows with start <= time < end.

        Args:
            start: aware time.
            end: aware time, not included.
            columns: those that are needed; all declared ones by default.
            allow_empty: whether a span without any row is an answer, or a fault.

        Returns:
            `event_time` (datetime64[ns, UTC]), `entity` where the project has one, the columns as `cast` types them;
            sorted and unique by (event_time, entity). Values that have not their column's type are left as they came.

        Raises:
            BadRowsError: when what came back is no such series; the first thing that is wrong.
            SourceError: when the function raised, or returned something else than a DataFrame.
        """
        wanted = list(self.spec.data.columns) if columns is None else list(columns)
        raw, series = self._series(start, end, wanted)
        for problem in series.problems:
            raise self._bad(start, end, problem, raw)
        rows = self._within(series.placed(), start, end)
        if rows.empty and not allow_empty:
            remedy = "look whether the source is complete; the window is read again later"
            nothing = Problem(
                "empty", "no rows came, where at least one was expected", remedy, np.zeros(len(raw), bool)
            )
            raise self._bad(start, end, nothing, raw)
        return cast(rows, self.spec, wanted)

    def known_by(self, start: datetime, end: datetime, now: datetime) -> pd.DataFrame:
        """What `read` gives, as it could be read at a moment.

        Rows whose values were not known by `now` are left out, targets that were not known are missing.

        Args:
            start: aware time.
            end: aware time, not included.
            now: the moment.

        Raises:
            SourceError: as `read`; no rows are an answer.
        """
        rows = self.read(start, end, allow_empty=True)
        newest = pd.Timestamp(self.timeline.known_before(now))
        rows = rows[rows[EVENT_TIME] <= newest].reset_index(drop=True)
        late = (rows[EVENT_TIME] > pd.Timestamp(self.timeline.labelled_before(now))).to_numpy()
        return _without(rows, self.spec.problem.target, late)

    def labelled_by(self, start: datetime, now: datetime) -> pd.DataFrame:
        """The sound rows from a time on whose targets were known at a moment; bad ones are left out.

        Args:
            start: aware time.
            now: the moment.

        Raises:
            SourceError: as `read`; no rows are an answer.
        """
        columns = list(self.spec.data.columns)
        rows = self.known_by(start, now, now)
        known = rows[rows[EVENT_TIME] <= pd.Timestamp(self.timeline.labelled_before(now))].reset_index(drop=True)
        bad = known.index.isin(faults(known, self.spec, columns)["row"].astype(int))
        return cast(known[~bad].reset_index(drop=True), self.spec, columns)

    # Leniently, for answers that are due

    def history(self, start: datetime, end: datetime, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The history columns of the rows with start <= time < end; what is bad is missing.

        Args:
            start: aware time.
            end: aware time, not included.
            columns: those that are needed; by default those that the YAML names.

        Returns:
            `event_time`, `entity` where the project has one, the history columns; sorted and unique. A row without a
            readable time or that came more than once is left out, a value that the schema refuses is missing.

        Raises:
            BadRowsError: when a column is missing, or the function returns columns that nobody declared.
            SourceError: when the function raised, or returned something else than a DataFrame.
        """
        view = self.spec.features.history
        wanted = list(columns if columns is not None else [] if view is None else view.columns)
        _, series = self._series(start, end, wanted)
        rows = self._within(series.placed(), start, end)
        once = ~rows.duplicated(series.keys, keep=False)
        return null_faults(rows[once].reset_index(drop=True), self.spec, wanted)

    def events(self, start: datetime, end: datetime, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The rows with start <= time < end that ask for an answer, with nothing but what is known in advance.

        Args:
            start: aware time.
            end: aware time, not included.
            columns: known columns that are needed; by default those that the YAML names.

        Returns:
            `event_time`, `entity` where the project has one, the known columns as they came, and `copies`: how often
            the row came. Sorted and unique. `faults` says which cannot be answered.

        Raises:
            SourceError: as `history`.
        """
        wanted = list(self.spec.features.known if columns is None else columns)
        _, series = self._series(start, end, wanted)
        rows = self._within(series.placed(), start, end)
        rows[COPIES] = rows.groupby(series.keys)[EVENT_TIME].transform("size").astype(np.int64)
        return cast(rows.drop_duplicates(series.keys).reset_index(drop=True), self.spec, wanted)

    def faults(self, events: pd.DataFrame, columns: Sequence[str] | None = None) -> dict[int, str]:
        """Why events cannot be answered.

        Args:
            events: rows as `events` gives them.
            columns: those that are needed, as handed to `events`.

        Returns:
            A sentence per position of a bad row; sound rows are not in it.
        """
        found = faults(events, self.spec, self.spec.features.known if columns is None else columns)
        sentences = [
            (int(row), f"{column} must be {check}, not {value}")
            for row, column, value, check in found[["row", "column", "value", "check"]].itertuples(index=False)
        ]
        sentences += [(int(row), "its row came more than once") for row in np.flatnonzero(events[COPIES] > 1)]
        reasons: dict[int, str] = {}
        for row, sentence in sentences:
            reasons[row] = f"{reasons[row]}; {sentence}" if row in reasons else sentence
        return reasons

    # The call

    def _series(self, start: datetime, end: datetime, wanted: Sequence[str]) -> tuple[pd.DataFrame, Series]:
        before, after = self._clock_change(start), self._clock_change(end)
        raw = self._call(start, end, before, after)
        if raw.empty:
            raw = pd.DataFrame(columns=[*self._key_columns, *wanted])
        if problem := wrong_columns(raw, self.spec, wanted):
            raise BadRowsError(
                self.spec.name, self._place(start, end), problem.found, problem.remedy, problem.kind, raw
            )
        # twice the change: once for what was asked, once for naive times that lie in the other pass of a doubled hour
        return raw, series_of(raw, self.spec, self.timeline, wanted, (start - 2 * before, end + 2 * after))

    @property
    def _key_columns(self) -> list[str]:
        return [self.spec.data.time, *([self.spec.data.entity] if self.spec.data.entity else [])]

    def _clock_change(self, moment: datetime) -> timedelta:
        """By how much the zone's clock changes within a day of a moment; nothing on most days.

        A function that selects by naive local time cannot tell the two passes of a doubled hour apart, so near a clock
        change it is asked for that much more; what lies outside the span is cut off afterwards.
        """
        yesterday, tomorrow = ((moment + day).astimezone(self.timeline.zone.info).utcoffset() for day in (-DAY, DAY))
        return abs((tomorrow or timedelta()) - (yesterday or timedelta()))

    def _call(self, start: datetime, end: datetime, before: timedelta, after: timedelta) -> pd.DataFrame:
        function = self.function
        # the standard library's UTC, whatever class of UTC a time comes with: pandas takes two of them for two zones
        first, last = (moment.astimezone(UTC) for moment in (start - before, end + after))
        try:
            raw = function(first, last, **self.spec.data.options)
        except Exception as error:
            raise SourceError(
                self.spec.name,
                self._place(start, end),
                f"rows were expected, but it raised {type(error).__name__}: {error}",
                "mend the function, or what it reads; the error that this one comes from says where it broke",
            ) from error
        if not isinstance(raw, pd.DataFrame):
            raise SourceError(
                self.spec.name,
                self._place(start, end),
                f"a pandas DataFrame was expected, not {type(raw).__name__}",
                "let the function return a DataFrame",
            )
        return raw.reset_index(drop=True)

    def _place(self, start: datetime, end: datetime) -> str:
        return f"{self.spec.data.source} for {iso(start)} to {iso(end)}"

    def _bad(self, start: datetime, end: datetime, problem: Problem, raw: pd.DataFrame) -> BadRowsError:
        rows = raw[problem.at].reset_index(drop=True)
        return BadRowsError(self.spec.name, self._place(start, end), problem.found, problem.remedy, problem.kind, rows)

    def _within(self, rows: pd.DataFrame, start: datetime, end: datetime) -> pd.DataFrame:
        inside = (rows[EVENT_TIME] >= pd.Timestamp(start)) & (rows[EVENT_TIME] < pd.Timestamp(end))
        return rows[inside].reset_index(drop=True)


def _without(rows: pd.DataFrame, column: str, late: np.ndarray[Any, np.dtype[np.bool_]]) -> pd.DataFrame:
    """The rows with a column's values missing where they were not known yet."""
    if not late.any():
        return rows
    values = rows[column]
    if values.dtype == object:
        return rows.assign(**{column: values.mask(late, None)})
    if values.dtype.kind in "ib":  # numpy's integers and booleans cannot be missing
        values = values.convert_dtypes(convert_string=False, convert_floating=False)
    return rows.assign(**{column: values.mask(late)})
