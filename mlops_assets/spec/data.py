"""`data` and `labels`: where rows come from, what they hold, and when they are known."""

from __future__ import annotations

from datetime import timedelta
from numbers import Integral, Real
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from mlops_assets.spec.duration import Duration, LocalTime, SpecModel, format_duration


def _zone_exists(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(
            f"no time zone {name!r}; write an IANA name, for example Europe/Berlin, or Etc/GMT-10 for +10:00"
        ) from error
    return name


DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
RESERVED = ("event_time", "entity", "event_id", "due", "copies", "prediction")
"""Columns that the platform adds to the columns of a project."""
FunctionPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w]*(\.[A-Za-z_]\w*)+$")]


def level_name(value: Any) -> str:
    """Return the name of a category's value: 3, 3.0 and "3" are the same level."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, Integral):
        return str(int(value))
    return str(int(float(value))) if isinstance(value, Real) and float(value).is_integer() else str(value)


class Column(SpecModel):
    """The values that a column may hold. Rows are validated against it with pandera."""

    dtype: Literal["float", "int", "bool", "category"]
    """The type of the values."""
    ge: float | None = None
    """Smallest allowed value; for numbers."""
    le: float | None = None
    """Largest allowed value; for numbers."""
    isin: list[str | int | float | bool] | None = None
    """The allowed values. For a classification target these are the classes."""
    nullable: bool = False
    """Whether a value may be missing. Missing past numbers are filled where features are computed."""

    @model_validator(mode="after")
    def _bounds_are_for_numbers(self) -> Column:
        if self.dtype in ("category", "bool") and (self.ge is not None or self.le is not None):
            raise ValueError(f"ge and le are for numbers, not for {self.dtype}")
        if self.ge is not None and self.le is not None and self.ge > self.le:
            raise ValueError(f"ge ({self.ge}) is above le ({self.le}): no value passes")
        return self


class DataSpec(SpecModel):
    """Where the rows come from, and the time of their series."""

    source: FunctionPath
    """Dotted path of the function `read(start, end) -> DataFrame`. It returns the rows with start <= time < end (aware
    UTC times)."""
    time: ColumnName = "timestamp"
    """The column with the timestamps. Naive ones are local in `time_zone`."""
    entity: ColumnName | None = None
    """The column with the name of the series, in a project with several series."""
    time_zone: Annotated[str, AfterValidator(_zone_exists)] = "UTC"
    """IANA name of the time zone of naive source times, of dates in this file, and of windows."""
    ambiguous: Literal["first", "second", "error"] = "error"
    """How a naive time is read in the hour that occurs twice when clocks go back: as its first or second occurrence, or
    as an error."""
    nonexistent: Literal["error", "shift_forward"] = "shift_forward"
    """How a naive time is read in the hour that is skipped when clocks go forward."""
    every: Duration
    """The step from one row of a series to the next. This is the grid of the series."""
    stamp: Literal["start", "end"] = "start"
    """Whether a row with timestamp s covers [s, s + every) (`start`), or the span that ends at s (`end`)."""
    start: LocalTime
    """Start of the data and of the first window."""
    end: LocalTime | None = None
    """End of the data, where no more are expected; null when the data go on."""
    window: Literal["hour", "day", "week", "month"]
    """Length of a window. Rows are published and reported, and decisions made, window by window. Windows are Dagster's
    partitions."""
    arrival_delay: Duration = timedelta(0)
    """How long after its time a row can be read from the source."""
    horizon: Duration = timedelta(0)
    """How long before its event a prediction is due."""
    training_window: Literal["expanding"] | Duration = "expanding"
    """How far back the rows of a training reach: to `start` (`expanding`), or a fixed length."""
    drop: list[ColumnName] = []
    """Columns that would leak the target. They are removed before anything else sees the rows."""
    columns: dict[ColumnName, Column]
    """All columns that the source returns, with the target, without dropped ones. Other columns are errors."""
    collect: FunctionPath | None = None
    """Dotted path of the function `collect(project, decision)`, which is called once for each COLLECT decision."""
    options: dict[str, Any] = {}
    """More keyword arguments for `source`."""

    @model_validator(mode="after")
    def _times_are_in_order(self) -> DataSpec:
        if self.every <= timedelta(0):
            raise ValueError("every must be longer than 0")
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end ({self.end}) must come after start ({self.start})")
        if self.every == WEEK:
            if self.window != "week":
                raise ValueError(f"every (7d) needs window: week; a {self.window} does not hold whole steps")
        elif self.every > DAY or DAY % self.every:
            raise ValueError(
                f"every ({format_duration(self.every)}) must divide a day, or be 7d with window: week, so that windows "
                f"hold whole steps"
            )
        if self.window == "hour" and timedelta(hours=1) % self.every:
            raise ValueError(f"every ({self.every}) must divide the window (hour)")
        if self.window == "month" and self.start.day > 28:
            raise ValueError("windows of a month need a start on day 1 to 28")
        both = set(self.drop) & set(self.columns)
        if both:
            raise ValueError(f"columns {sorted(both)} are both under columns and under drop")
        taken = [name for name in self.columns if name in RESERVED]
        if taken:
            raise ValueError(f"columns {taken} have names that the platform uses itself; rename them in the source")
        for special in (self.time, self.entity):
            if special is not None and special in self.columns:
                raise ValueError(f"{special!r} is the time or entity column; do not list it under columns")
        return self


class LabelsSpec(SpecModel):
    """When labels are known."""

    delay: Duration = timedelta(0)
    """Time from when a row can be read until its label is known."""
