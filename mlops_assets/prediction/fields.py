"""Read the values of a request's row strictly: a value that does not fit the schema is an error with row and field."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.errors import InputError
from mlops_assets.prediction.schema import ENTITY, EVENT_TIME, Dtype, InputSchema
from mlops_assets.spec.data import level_name

Floats = npt.NDArray[np.float64]
REQUIRED: dict[Dtype, str] = {
    "float": "a number is required",
    "int": "an integer is required",
    "bool": "true or false is required",
    "category": "a string is required",
}
"""What a known column of each type must hold, in the words of an error."""


def category_name(value: Any) -> str | None:
    """Return the name of a category's value; None when it is missing."""
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    return level_name(value)


def input_error(schema: InputSchema, field: str, row: int, found: str, remedy: str) -> InputError:
    """Return the error for a field of a row; rows are counted from 0."""
    return InputError(schema.project, field, found, remedy, row)


def read_event_time(value: Any, schema: InputSchema, row: int) -> np.datetime64:
    """Return the event time in UTC, in nanoseconds, of an ISO 8601 text with a zone.

    Raises:
        InputError: it is not one.
    """
    remedy = "send ISO 8601 with a zone, for example 2011-04-02T04:00:00Z"
    if isinstance(value, np.datetime64 | pd.Timestamp) or not isinstance(value, str | datetime):
        raise input_error(schema, EVENT_TIME, row, f"a string is required, not {value!r}", remedy)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if moment.tzinfo is None:
            raise ValueError("it has no zone")
        # outside the range of 64-bit nanoseconds numpy wraps around silently
        if not 1678 <= moment.year <= 2261:
            raise ValueError("its year is not within 1678 to 2261")
        return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "ns")
    except (ValueError, OverflowError) as error:
        raise input_error(schema, EVENT_TIME, row, f"{value!r} is not a valid timestamp: {error}", remedy) from error


def read_entity(value: Any, schema: InputSchema, row: int) -> str:
    """Return the name of a row's series.

    Raises:
        InputError: there is none.
    """
    name = category_name(value) if isinstance(value, str | Integral) else None
    if not name:
        raise input_error(schema, ENTITY, row, f"a name is required, not {value!r}", "send the name of the series")
    return name


def _require_nullable(name: str, schema: InputSchema, row: int) -> None:
    if name not in schema.nullable:
        raise input_error(schema, name, row, f"{REQUIRED[schema.known[name]]}, not null", "send a value")


def read_category(value: Any, name: str, schema: InputSchema, row: int) -> str | None:
    """Return the name of a category's value; None for null, where the column is nullable.

    Raises:
        InputError: the value is neither a string nor an integer.
    """
    if value is None:
        _require_nullable(name, schema, row)
        return None
    if not isinstance(value, str | Integral):
        raise input_error(schema, name, row, f"{REQUIRED['category']}, not {value!r}", "send the category's name")
    return category_name(value)


def read_number(value: Any, name: str, schema: InputSchema, row: int) -> float:
    """Return a number, or a boolean as 0.0 or 1.0; NaN for null, where the column is nullable.

    Raises:
        InputError: the value is not of the column's type, or not finite.
    """
    dtype = schema.known[name]
    if value is None:
        _require_nullable(name, schema, row)
        return np.nan
    if not isinstance(value, Real | np.bool_) or (isinstance(value, bool | np.bool_) and dtype != "bool"):
        raise input_error(schema, name, row, f"{REQUIRED[dtype]}, not {value!r}", "send a value of this type")
    try:
        result = float(value)
    except OverflowError:
        result = np.inf
    if not np.isfinite(result):
        found = f"a finite number is required, not {value!r}"
        raise input_error(schema, name, row, found, "send null for a missing value")
    if (dtype == "int" and not result.is_integer()) or (dtype == "bool" and result not in (0.0, 1.0)):
        raise input_error(schema, name, row, f"{REQUIRED[dtype]}, not {value!r}", "send a value of this type")
    return result


def read_past_values(value: Any, field: str, schema: InputSchema, row: int) -> Floats:
    """Return the past values of a column, shape (steps,), oldest first; NaN for null.

    In a numpy array NaN stands for a missing value too.

    Raises:
        InputError: the value is not an array of this length, or holds something else than finite numbers and nulls.
    """
    remedy = f"send {schema.steps} numbers or nulls, oldest first"
    if isinstance(value, np.ndarray) and value.dtype.kind not in "iuf":
        value = value.tolist()
    if not isinstance(value, np.ndarray | list | tuple) or (isinstance(value, np.ndarray) and value.ndim != 1):
        raise input_error(schema, field, row, f"an array is required, not {value!r:.80}", remedy)
    if len(value) != schema.steps:
        raise input_error(schema, field, row, f"{schema.steps} values are required, not {len(value)}", remedy)
    if isinstance(value, np.ndarray):
        values = value.astype(np.float64)
        missing = np.isnan(values)
    else:
        values = _numbers(value, field, schema, row, remedy)
        missing = np.fromiter((item is None for item in value), dtype=bool, count=len(value))
    # in a list only null is a missing value: a NaN that was sent is an error
    invalid = ~np.isfinite(values) & ~missing
    if invalid.any():
        at = int(np.argmax(invalid))
        raise input_error(schema, field, row, f"value {at} is {value[at]!r}, not a finite number", remedy)
    return values


def _numbers(value: Sequence[Any], field: str, schema: InputSchema, row: int, remedy: str) -> Floats:
    # types are checked, since numpy would read strings of digits and booleans as numbers
    plain = {int, float, type(None)}
    if not set(map(type, value)) <= plain:
        for at, item in enumerate(value):
            if type(item) not in plain and not isinstance(item, np.integer | np.floating):
                raise input_error(schema, field, row, f"value {at} is {item!r:.80}, not a number", remedy)
    try:
        return np.array(value, dtype=np.float64)
    except OverflowError as error:
        raise input_error(schema, field, row, f"a number is too large: {error}", "send finite numbers") from error
