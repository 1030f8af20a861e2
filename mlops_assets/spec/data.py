"""Where rows come from, what they look like, and when they are known."""

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
            f"no time zone {name!r}; write an IANA name, as Europe/Berlin, or Etc/GMT-10 for +10:00"
        ) from error
    return name


DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
ColumnName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
RESERVED = ("event_time", "entity", "event_id", "due", "copies", "prediction")
"""Columns that the platform puts beside a row's own."""
FunctionPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w]*(\.[A-Za-z_]\w*)+$")]


def level_name(value: Any) -> str:
    """A category's value as its level's name: 3, 3.0 and "3" are the same level."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, Integral):
        return str(int(value))
    return str(int(float(value))) if isinstance(value, Real) and float(value).is_integer() else str(value)


class Column(SpecModel):
    """What a column may hold; the pandera schema is made from it."""

    dtype: Literal["float", "int", "bool", "category"]
    """How a value is read."""
    ge: float | None = None
    """The least value allowed, for numbers."""
    le: float | None = None
    """The greatest value allowed, for numbers."""
    isin: list[str | int | float | bool] | None = None
    """The values allowed; for a classification target, its classes."""
    nullable: bool = False
    """Whether a value may be missing; a missing number is filled where features are computed."""

    @model_validator(mode="after")
    def _bounds_are_for_numbers(self) -> Column:
        if self.dtype in ("category", "bool") and (self.ge is not None or self.le is not None):
            raise ValueError(f"ge and le are for numbers, not for {self.dtype}")
        if self.ge is not None and self.le is not None and self.ge > self.le:
            raise ValueError(f"ge ({self.ge}) is above le ({self.le}): no value passes")
        return self


class DataSpec(SpecModel):
    """The source and its clockwork."""

    source: FunctionPath
    """Dotted path of `read(start, end) -> DataFrame`: the rows with start <= time < end (aware UTC times)."""
    time: ColumnName = "timestamp"
    """The column of time stamps; naive ones are read in `time_zone`."""
    entity: ColumnName | None = None
    """The column that tells several series apart, if there are several."""
    time_zone: Annotated[str, AfterValidator(_zone_exists)] = "UTC"
    """IANA name of the zone in which naive source times, dates in this file and windows are meant."""
    ambiguous: Literal["first", "second", "error"] = "error"
    """What a naive time in the doubled hour of autumn means."""
    nonexistent: Literal["error", "shift_forward"] = "shift_forward"
    """What a naive time in the hour that spring leaves out means."""
    every: Duration
    """The grid: the step from one row of a series to the next."""
    stamp: Literal["start", "end"] = "start"
    """Whether a row stamped s covers [s, s + every) or ends at s."""
    start: LocalTime
    """Where history and the first window begin."""
    end: LocalTime | None = None
    """Where a closed history ends."""
    window: Literal["hour", "day", "week", "month"]
    """The partition: how much arrives, is reported and is decided on at once."""
    arrival_delay: Duration = timedelta(0)
    """How long after its time a row can be read."""
    horizon: Duration = timedelta(0)
    """How far ahead of its event an answer is due."""
    training_window: Literal["expanding"] | Duration = "expanding"
    """How far back a training looks."""
    drop: list[ColumnName] = []
    """Columns that give the target away; they never leave the source."""
    columns: dict[ColumnName, Column]
    """Every column that may leave the source, the target too; others are errors unless dropped."""
    collect: FunctionPath | None = None
    """Dotted path of `collect(project, decision)`, called once per COLLECT."""
    options: dict[str, Any] = {}
    """Keyword arguments handed to `source`, beside start and end."""

    @model_validator(mode="after")
    def _times_are_in_order(self) -> DataSpec:
        if self.every <= timedelta(0):
            raise ValueError("every must be longer than nothing")
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end ({self.end}) must come after start ({self.start})")
        if self.every == WEEK:
            if self.window != "week":
                raise ValueError(f"every (7d) needs window: week, which holds whole steps; {self.window} does not")
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
            raise ValueError(f"columns {sorted(both)} are both declared and dropped")
        taken = [name for name in self.columns if name in RESERVED]
        if taken:
            raise ValueError(f"columns {taken} have names that the platform uses itself; let the source rename them")
        for special in (self.time, self.entity):
            if special is not None and special in self.columns:
                raise ValueError(f"{special!r} is the time or entity column; do not list it under columns")
        return self


class LabelsSpec(SpecModel):
    """When the truth arrives."""

    delay: Duration = timedelta(0)
    """How long after its row a target value is known."""
