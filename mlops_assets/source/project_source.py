"""Reads a project's rows through its own `read` function.

Rows that are to be published are read strictly (`read`): wrong columns, times, order or duplicates are an error, and
the audit looks at single values afterwards. Rows that a prediction needs are read leniently (`history`, `events`): a
bad past value is missing, and a bad event gets no prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlops_assets.errors import SourceError
from mlops_assets.prediction.schema import EVENT_TIME
from mlops_assets.source.casting import cast
from mlops_assets.source.schema import faults, null_faults
from mlops_assets.source.series import Kind, Problem, Series, series_of, wrong_columns
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.imports import import_function
from mlops_assets.timeline import Timeline, iso

DAY = timedelta(days=1)
COPIES = "copies"
"""The column that says how often the source returned a row."""


class LabelledRows(NamedTuple):
    """Rows whose labels are known.

    Attributes:
        rows: the rows in which every value is as declared.
        dropped: how many more rows there were, left out since a value of them is not as declared.
    """

    rows: pd.DataFrame
    dropped: int


class BadRowsError(SourceError):
    """A source returned rows that are not a series of its project.

    Args:
        project: its name.
        place: function and span.
        found: what was found, and what was expected.
        remedy: what to do.
        kind: what is wrong.
        rows: the rows at fault, as the source returned them.
    """

    def __init__(self, project: str, place: str, found: str, remedy: str, kind: Kind, rows: pd.DataFrame) -> None:
        super().__init__(project, place, found, remedy)
        self.kind, self.rows = kind, rows

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.project, self.place, self.found, self.remedy, self.kind, self.rows)


class ProjectSource:
    """Reads the rows of one project.

    Args:
        spec: the project.
        timeline: the project's time.
    """

    def __init__(self, spec: ProjectSpec, timeline: Timeline) -> None:
        self.spec, self.timeline = spec, timeline

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function that `data.source` names, imported.

        Raises:
            SpecError: it cannot be imported, or is not a function.
        """
        return import_function(self.spec.name, "data.source", self.spec.data.source)

    # Strict reading, for publication

    def read(
        self, start: datetime, end: datetime, columns: Sequence[str] | None = None, *, allow_empty: bool = False
    ) -> pd.DataFrame:
        """Return all rows with start <= time < end.

        Args:
            start: aware time.
            end: aware time, not included.
            columns: the columns to read; by default all declared ones.
            allow_empty: whether a span without any row is allowed.

        Returns:
            `event_time` (datetime64[ns, UTC]), `entity` where the project has one, the columns as `cast` types them;
            sorted and unique by (event_time, entity). Columns with a value of another type are left as they are.

        Raises:
            BadRowsError: the rows are not such a series; it names the first thing that is wrong.
            SourceError: the function raised, or did not return a DataFrame.
        """
        wanted = list(self.spec.data.columns) if columns is None else list(columns)
        raw, series = self._series(start, end, wanted)
        for problem in series.problems:
            raise self._bad(start, end, problem, raw)
        rows = self._within(series.placed(), start, end)
        if rows.empty and not allow_empty:
            remedy = "look whether the source has rows of this time; the window is read again later"
            found = "it returned no rows, where at least one was expected"
            problem = Problem("empty", found, remedy, np.zeros(len(raw), bool))
            raise self._bad(start, end, problem, raw)
        return cast(rows, self.spec, wanted)

    def known_by(self, start: datetime, end: datetime, now: datetime) -> pd.DataFrame:
        """Return the rows of `read` as they could be read at a moment.

        Rows whose values were not known by `now` are left out, and labels that were not known are missing.

        Args:
            start: aware time.
            end: aware time, not included.
            now: the moment.

        Raises:
            SourceError: the rows cannot be read. A span without rows is no error.
        """
        rows = self.read(start, end, allow_empty=True)
        newest = pd.Timestamp(self.timeline.known_before(now))
        rows = rows[rows[EVENT_TIME] <= newest].reset_index(drop=True)
        late = (rows[EVENT_TIME] > pd.Timestamp(self.timeline.labelled_before(now))).to_numpy()
        return _without(rows, self.spec.problem.target, late)

    def labelled_by(self, start: datetime, now: datetime) -> LabelledRows:
        """Return the rows from a time on whose labels were known at a moment, without rows that have a bad value.

        Args:
            start: aware time.
            now: the moment.

        Raises:
            SourceError: the rows cannot be read. A span without rows is no error.
        """
        columns = list(self.spec.data.columns)
        rows = self.known_by(start, now, now)
        known = rows[rows[EVENT_TIME] <= pd.Timestamp(self.timeline.labelled_before(now))].reset_index(drop=True)
        bad = known.index.isin(faults(known, self.spec, columns)["row"].astype(int))
        return LabelledRows(cast(known[~bad].reset_index(drop=True), self.spec, columns), int(bad.sum()))

    # Lenient reading, for predictions

    def history(self, start: datetime, end: datetime, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return past values of the rows with start <= time < end; bad values are missing.

        Args:
            start: aware time.
            end: aware time, not included.
            columns: the columns to read; by default those under `features.history`.

        Returns:
            `event_time`, `entity` where the project has one, and the columns; sorted and unique. Rows without a
            readable time, and rows that came more than once, are left out; values that are not as declared are missing.

        Raises:
            BadRowsError: a column is missing, or is not declared.
            SourceError: the function raised, or did not return a DataFrame.
        """
        past = self.spec.features.history
        wanted = list(columns if columns is not None else [] if past is None else past.columns)
        _, series = self._series(start, end, wanted)
        rows = self._within(series.placed(), start, end)
        once = ~rows.duplicated(series.keys, keep=False)
        return null_faults(rows[once].reset_index(drop=True), self.spec, wanted)

    def events(self, start: datetime, end: datetime, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows with start <= time < end as events: only with columns that are known in advance.

        Args:
            start: aware time.
            end: aware time, not included.
            columns: the known columns to read; by default those under `features.known`.

        Returns:
            `event_time`, `entity` where the project has one, the known columns, and `copies`: how often the source
            returned the row. Sorted and unique. `faults` says which rows are bad.

        Raises:
            BadRowsError: a column is missing, or is not declared.
            SourceError: the function raised, or did not return a DataFrame.
        """
        wanted = list(self.spec.features.known if columns is None else columns)
        _, series = self._series(start, end, wanted)
        rows = self._within(series.placed(), start, end)
        rows[COPIES] = rows.groupby(series.keys)[EVENT_TIME].transform("size").astype(np.int64)
        return cast(rows.drop_duplicates(series.keys).reset_index(drop=True), self.spec, wanted)

    def faults(self, events: pd.DataFrame, columns: Sequence[str] | None = None) -> dict[int, str]:
        """Return why event rows are bad, by position; valid rows are left out.

        Args:
            events: rows as `events` returns them.
            columns: the known columns that were handed to `events`.
        """
        found = faults(events, self.spec, self.spec.features.known if columns is None else columns)
        sentences = [
            (int(row), f"{column} must be {check}, not {value}")
            for row, column, value, check in found[["row", "column", "value", "check"]].itertuples(index=False)
        ]
        sentences += [
            (int(row), "the source returned its row more than once") for row in np.flatnonzero(events[COPIES] > 1)
        ]
        reasons: dict[int, str] = {}
        for row, sentence in sentences:
            reasons[row] = f"{reasons[row]}; {sentence}" if row in reasons else sentence
        return reasons

    # Calling the function

    def _series(self, start: datetime, end: datetime, wanted: Sequence[str]) -> tuple[pd.DataFrame, Series]:
        before, after = self._clock_change(start), self._clock_change(end)
        raw = self._call(start, end, before, after)
        if raw.empty:
            raw = pd.DataFrame(columns=[*self._key_columns, *wanted])
        if problem := wrong_columns(raw, self.spec, wanted):
            raise BadRowsError(
                self.spec.name, self._place(start, end), problem.found, problem.remedy, problem.kind, raw
            )
        # The change counts twice: the span of the call was widened by it, and naive times may lie in the other one of
        # the two hours with the same name.
        return raw, series_of(raw, self.spec, self.timeline, wanted, (start - 2 * before, end + 2 * after))

    @property
    def _key_columns(self) -> list[str]:
        return [self.spec.data.time, *([self.spec.data.entity] if self.spec.data.entity else [])]

    def _clock_change(self, moment: datetime) -> timedelta:
        """Return by how much the zone's clock changes within a day of a moment; zero on most days.

        When clocks go back, two hours have the same name, and a function that selects by naive local time cannot tell
        them apart. So near a change the span of the call is widened by the change, and rows outside the span are
        removed afterwards.
        """
        yesterday, tomorrow = ((moment + day).astimezone(self.timeline.zone.info).utcoffset() for day in (-DAY, DAY))
        return abs((tomorrow or timedelta()) - (yesterday or timedelta()))

    def _call(self, start: datetime, end: datetime, before: timedelta, after: timedelta) -> pd.DataFrame:
        function = self.function
        # pandas takes different classes of UTC for different zones, so the function always gets the same class
        first, last = (moment.astimezone(UTC) for moment in (start - before, end + after))
        try:
            raw = function(first, last, **self.spec.data.options)
        except Exception as error:
            raise SourceError(
                self.spec.name,
                self._place(start, end),
                f"it raised {type(error).__name__}: {error}",
                "fix the function or its data; see the original error below",
            ) from error
        if not isinstance(raw, pd.DataFrame):
            raise SourceError(
                self.spec.name,
                self._place(start, end),
                f"it returned {type(raw).__name__}, where a pandas DataFrame was expected",
                "return a DataFrame from the function",
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
    """Return the rows with a column's values missing where they were not known yet."""
    if not late.any():
        return rows
    values = rows[column]
    if values.dtype == object:
        return rows.assign(**{column: values.mask(late, None)})
    if values.dtype.kind in "ib":  # numpy's integers and booleans cannot be missing
        values = values.convert_dtypes(convert_string=False, convert_floating=False)
    return rows.assign(**{column: values.mask(late)})
