"""Lengths of time as they are written in YAML: `1ms`, `30min`, `168h`, `14d`, `2w`."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

UNITS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
PATTERN = r"^(\d+(?:\.\d+)?)(us|ms|s|min|h|d|w)$"


def parse_duration(value: Any) -> timedelta:
    """Read ``<number><unit>`` (units us, ms, s, min, h, d, w); a timedelta passes as it is.

    Raises:
        ValueError: with the accepted form, when `value` is something else.
    """
    if isinstance(value, timedelta):
        return value
    match = re.match(PATTERN, value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            f"{value!r} is not a length of time; write a number and a unit, for example 30min, 168h or 14d"
        )
    return float(match[1]) * UNITS[match[2]]


def format_duration(value: timedelta) -> str:
    """Write a length in the largest unit that divides it; the inverse of `parse_duration`."""
    if not value:
        return "0h"
    for unit in ("d", "h", "min", "s", "ms", "us"):
        if value % UNITS[unit] == timedelta(0):
            return f"{value // UNITS[unit]}{unit}"
    raise ValueError(f"{value} is finer than a microsecond")


def parse_local(value: Any) -> datetime:
    """Read a date or a naive time, which is local in ``data.time_zone``.

    Raises:
        ValueError: when it is not a date, or has a zone of its own.
    """
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError(f"{value!r} is not a date; write 2011-04-02 or 2011-04-02T06:00")
    if value.tzinfo is not None:
        raise ValueError(f"{value} carries a zone; dates here are local in data.time_zone")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "format": "duration, as 30min, 168h or 14d"}),
]
LocalTime = Annotated[
    datetime,
    BeforeValidator(parse_local),
    PlainSerializer(lambda value: value.isoformat(), return_type=str),
    WithJsonSchema({"type": "string", "format": "date, as 2011-04-02"}),
]


class SpecModel(BaseModel):
    """Base of all parts of a project's YAML: unknown fields are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, serialize_by_alias=True)
