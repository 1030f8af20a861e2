"""The values of a request's row, read strictly: what is not as the schema says is refused by its field's name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.errors import InputError
from mlops_assets.spec.data import level_name

if TYPE_CHECKING:
    from mlops_assets.prediction.inputs import InputSchema

Floats = npt.NDArray[np.float64]


def category_name(value: Any) -> str | None:
    """A category's value as its level's name; None when missing."""
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    return level_name(value)


def refuse(schema: InputSchema, field: str, number: int, found: str, remedy: str) -> InputError:
    """The error that refuses a field of a row."""
    return InputError(schema.project, field, f"row {number}: {found}", remedy)


def read_event_time(value: Any, schema: InputSchema, number: int) -> np.datetime64:
    """ISO 8601 with a zone, as UTC nanoseconds; raises InputError."""
    remedy = "send ISO 8601 with a zone, as 2011-04-02T04:00:00Z"
    if isinstance(value, np.datetime64 | pd.Timestamp) or not isinstance(value, str | datetime):
        raise refuse(schema, "event_time", number, f"a string was expected, not {value!r}", remedy)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if moment.tzinfo is None:
            raise ValueError("it has no zone")
        # numpy wraps around silently outside of what 64 bits of nanoseconds hold
        if not 1678 <= moment.year <= 2261:
            raise ValueError("its year is not within 1678 to 2261")
        return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "ns")
    except (ValueError, OverflowError) as error:
        raise refuse(schema, "event_time", number, f"{value!r} is no time: {error}", remedy) from error


def read_entity(value: Any, schema: InputSchema, number: int) -> str:
    """The name of a series; raises InputError."""
    name = category_name(value) if isinstance(value, str | Integral) else None
    if not name:
        raise refuse(schema, "entity", number, f"a name was expected, not {value!r}", "send the name of the series")
    return name


def _missing(name: str, schema: InputSchema, number: int) -> None:
    if name not in schema.nullable:
        raise refuse(schema, name, number, f"null, where a {schema.known[name]} was expected", "send a value")


def read_category(value: Any, name: str, schema: InputSchema, number: int) -> str | None:
    """A level of a known category, None where that may be null; raises InputError."""
    if value is None:
        _missing(name, schema, number)
        return None
    if not isinstance(value, str | Integral):
        raise refuse(schema, name, number, f"a category's name was expected, not {value!r}", "send a string")
    return category_name(value)


def read_number(value: Any, name: str, schema: InputSchema, number: int) -> float:
    """A known number or boolean, NaN where that may be null; raises InputError."""
    dtype = schema.known[name]
    if value is None:
        _missing(name, schema, number)
        return np.nan
    if not isinstance(value, Real | np.bool_) or (isinstance(value, bool | np.bool_) and dtype != "bool"):
        raise refuse(schema, name, number, f"a {dtype} was expected, not {value!r}", "send a number")
    try:
        result = float(value)
    except OverflowError:
        result = np.inf
    if not np.isfinite(result):
        raise refuse(
            schema, name, number, f"a finite number was expected, not {value!r}", "send null for a missing value"
        )
    if (dtype == "int" and not result.is_integer()) or (dtype == "bool" and result not in (0.0, 1.0)):
        raise refuse(schema, name, number, f"a {dtype} was expected, not {value!r}", "send a value of this type")
    return result


def read_window(value: Any, field: str, schema: InputSchema, number: int) -> Floats:
    """A history window (steps,), NaN for null; of a numpy array NaN is null too; raises InputError."""
    wanted = f"{schema.steps} numbers or nulls, oldest first"
    if isinstance(value, np.ndarray) and value.dtype.kind not in "iuf":
        value = value.tolist()
    if not isinstance(value, np.ndarray | list | tuple) or (isinstance(value, np.ndarray) and value.ndim != 1):
        raise refuse(schema, field, number, f"an array was expected, not {value!r:.80}", f"send {wanted}")
    if len(value) != schema.steps:
        raise refuse(
            schema, field, number, f"{len(value)} values, where {schema.steps} were expected", f"send {wanted}"
        )
    if isinstance(value, np.ndarray):
        window = value.astype(np.float64)
        missing = np.isnan(window)
    else:
        window = _numbers(value, field, schema, number)
        missing = np.fromiter((item is None for item in value), dtype=bool, count=len(value))
    # of a list only its nulls may have become NaN: a NaN that was sent is refused
    foreign = ~np.isfinite(window) & ~missing
    if foreign.any():
        at = int(np.argmax(foreign))
        raise refuse(schema, field, number, f"value {at} is {value[at]!r}, not a finite number", f"send {wanted}")
    return window


def _numbers(value: Sequence[Any], field: str, schema: InputSchema, number: int) -> Floats:
    # by type, since numpy would read strings of digits and booleans as numbers
    plain = {int, float, type(None)}
    if not set(map(type, value)) <= plain:
        for at, item in enumerate(value):
            if type(item) not in plain and not isinstance(item, np.integer | np.floating):
                found = f"value {at} is {item!r:.80}, not a number"
                raise refuse(schema, field, number, found, "send numbers and nulls")
    try:
        return np.array(value, dtype=np.float64)
    except OverflowError as error:
        raise refuse(schema, field, number, f"a number is too large: {error}", "send finite numbers") from error
