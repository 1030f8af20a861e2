"""Turns the rows that a source returned into a series, and finds what is wrong with their columns, times and order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.prediction.fields import category_name
from mlops_assets.prediction.schema import ENTITY, EVENT_TIME
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, as_datetime64

Kind = Literal["empty", "columns", "times", "outside", "duplicates", "order"]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the rows that a source returned."""

    kind: Kind
    found: str
    remedy: str
    at: Mask
    """Which of the returned rows are at fault."""


@dataclass
class Series:
    """Rows of a source under the platform's column names, in their order, and what is wrong with them."""

    frame: pd.DataFrame
    """`event_time` (UTC; NaT where unreadable), `entity` (None where missing), the wanted columns unchanged."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """The columns that identify a row."""
        return [EVENT_TIME, ENTITY] if ENTITY in self.frame else [EVENT_TIME]

    def placed(self) -> pd.DataFrame:
        """Return the rows that have a time and a series, sorted."""
        placed = self.frame[self.frame[self.keys].notna().all(axis=1)]
        return placed.sort_values(self.keys, kind="stable").reset_index(drop=True)


def wrong_columns(raw: pd.DataFrame, spec: ProjectSpec, wanted: Sequence[str]) -> Problem | None:
    """Return the problem of missing, undeclared or repeated columns; None when the columns are right."""
    data = spec.data
    keys = [data.time, *([data.entity] if data.entity else [])]
    absent = [name for name in [*keys, *wanted] if name not in raw.columns]
    undeclared = [str(name) for name in raw.columns if name not in {*keys, *data.columns, *data.drop}]
    twice = sorted({str(name) for name in raw.columns[raw.columns.duplicated()]})
    for names, words, remedy in (
        (absent, "are missing", "return them from the function, or take them out of data.columns"),
        (undeclared, "are not declared", "declare them under data.columns, or list them under data.drop"),
        (twice, "are there twice", "return each column once"),
    ):
        if names:
            found = f"columns {', '.join(names)} {words}; expected are {', '.join([*keys, *data.columns])}"
            return Problem("columns", found, remedy, np.ones(len(raw), dtype=bool))
    return None


def series_of(
    raw: pd.DataFrame, spec: ProjectSpec, timeline: Timeline, wanted: Sequence[str], allowed: tuple[datetime, datetime]
) -> Series:
    """Return rows under the platform's names and in UTC, with the problems of their times, order and uniqueness.

    Args:
        raw: the rows that the source returned, with the right columns.
        spec: the project.
        timeline: its time.
        wanted: the columns to keep.
        allowed: the span [start, end) in which rows may lie.
    """
    problems: list[Problem] = []
    frame = pd.DataFrame({EVENT_TIME: _times(raw[spec.data.time], spec, timeline, problems)})
    if spec.data.entity is not None:
        frame[ENTITY] = _entities(raw[spec.data.entity], spec.data.entity, problems)
    for name in wanted:
        frame[name] = raw[name].array
    series = Series(frame, problems)
    _outside(series, allowed)
    _duplicates(series)
    _order(series)
    return series


def _times(column: pd.Series, spec: ProjectSpec, timeline: Timeline, problems: list[Problem]) -> pd.DatetimeIndex:
    absent = column.isna().to_numpy()
    if absent.any():
        found = f"{int(absent.sum())} rows have no time in {spec.data.time!r}"
        problems.append(Problem("times", found, "give every row its time", absent))
    times, aware = _parsed(column)
    unreadable = times.isna() & ~absent
    if unreadable.any():
        first = column[unreadable].astype(object).tolist()[0]
        found = f"{int(unreadable.sum())} values of {spec.data.time!r} are not times, the first is {first!r}"
        remedy = "return times, or strings in ISO 8601, all with a zone or all without"
        problems.append(Problem("times", found, remedy, unreadable))
    return times.tz_convert("UTC") if aware else _localised(times, spec, timeline, problems)


def _parsed(column: pd.Series) -> tuple[pd.DatetimeIndex, bool]:
    """Return the times, NaT where one is unreadable, and whether they carry a zone."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return pd.DatetimeIndex(column).tz_convert("UTC").as_unit("ns"), True
    if pd.api.types.is_datetime64_dtype(column.dtype):
        return pd.DatetimeIndex(column).as_unit("ns"), False
    # A number is not accepted as a time: its unit and its origin are not known.
    values = [_time(value) for value in column]
    aware = next((value.tzinfo is not None for value in values if value is not None), False)
    same = [value if value is not None and (value.tzinfo is not None) == aware else None for value in values]
    times = pd.DatetimeIndex(pd.to_datetime(pd.Series(same, dtype=object), utc=True))
    return (times if aware else times.tz_localize(None)).as_unit("ns"), aware


def _time(value: Any) -> pd.Timestamp | None:
    if not isinstance(value, str | datetime | np.datetime64) or value is pd.NaT:
        return None
    try:
        time = pd.Timestamp(datetime.fromisoformat(value) if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return time if isinstance(time, pd.Timestamp) else None


def _localised(
    times: pd.DatetimeIndex, spec: ProjectSpec, timeline: Timeline, problems: list[Problem]
) -> pd.DatetimeIndex:
    data = spec.data
    # pandas needs a flag per row: whether it lies in the first of the two hours, when daylight saving time still holds.
    ambiguous: Any = "NaT" if data.ambiguous == "error" else np.full(len(times), data.ambiguous == "first")
    nonexistent: Any = "NaT" if data.nonexistent == "error" else "shift_forward"
    aware = times.tz_localize(timeline.zone.info, ambiguous=ambiguous, nonexistent=nonexistent)
    unclear = np.asarray(aware.isna()) & np.asarray(times.notna())
    if unclear.any():
        count, first = int(unclear.sum()), times[unclear][0]
        found = f"{count} naive times are ambiguous or do not exist in {data.time_zone}, the first is {first}"
        remedy = "set data.ambiguous (first or second) or data.nonexistent (shift_forward), or return times with a zone"
        problems.append(Problem("times", found, remedy, unclear))
    return aware.tz_convert("UTC")


def _entities(column: pd.Series, name: str, problems: list[Problem]) -> pd.Series:
    names = pd.Series([category_name(value) or None for value in column], dtype=object)
    absent = names.isna().to_numpy()
    if absent.any():
        found = f"{int(absent.sum())} rows have no value in the entity column {name!r}"
        problems.append(Problem("columns", found, "give every row the name of its series", absent))
    return names


def _outside(series: Series, allowed: tuple[datetime, datetime]) -> None:
    times = series.frame[EVENT_TIME].dt.tz_localize(None).to_numpy()
    outside = (times < as_datetime64(allowed[0])) | (times >= as_datetime64(allowed[1]))
    if outside.any():
        found = f"{int(outside.sum())} rows lie outside the requested span, the first at {times[outside][0]}Z"
        series.problems.append(Problem("outside", found, "return only rows with start <= time < end", outside))


def _duplicates(series: Series) -> None:
    keys = series.frame[series.keys]
    twice = keys.duplicated(keep=False).to_numpy() & keys.notna().all(axis=1).to_numpy()
    if twice.any():
        again, first = int(keys[twice].duplicated().sum()), series.frame[EVENT_TIME][twice].iloc[0]
        found = f"{again} rows repeat the {' and '.join(series.keys)} of an earlier row, the first at {first}"
        series.problems.append(Problem("duplicates", found, "return each time once per series", twice))


def _order(series: Series) -> None:
    frame = series.frame
    steps = frame.groupby(ENTITY, sort=False)[EVENT_TIME].diff() if ENTITY in frame else frame[EVENT_TIME].diff()
    back = (steps < pd.Timedelta(0)).to_numpy()
    if back.any():
        found = (
            f"{int(back.sum())} rows are older than the row before them, the first at {frame[EVENT_TIME][back].iloc[0]}"
        )
        series.problems.append(Problem("order", found, "return the oldest rows first", back))
