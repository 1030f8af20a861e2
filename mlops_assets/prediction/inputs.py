"""The inputs of a model: known columns and past values, cut from frames or read from requests.

Training, the scorer and the evaluator use `cut_inputs`; the service uses `from_records`. Both return the same `Inputs`,
so that features and predictions are computed in one way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.errors import InputError
from mlops_assets.prediction.fields import (
    Floats,
    category_name,
    input_error,
    read_category,
    read_entity,
    read_event_time,
    read_number,
    read_past_values,
)
from mlops_assets.prediction.schema import ENTITY, EVENT_TIME, Dtype, InputSchema
from mlops_assets.timeline import Timeline, Times, iso


@dataclass(frozen=True)
class Inputs:
    """Inputs of n rows, column by column."""

    event_time: Times
    """datetime64[ns], UTC, shape (n,)."""
    entity: list[str] | None
    known: dict[str, npt.NDArray[Any]]
    """Per column (n,): float64 for numbers and bools (NaN = missing), objects (str or None) for categories."""
    history: dict[str, Floats]
    """Per column (n, steps), oldest first; NaN = missing."""

    def __len__(self) -> int:
        return len(self.event_time)

    def take(self, index: npt.ArrayLike) -> Inputs:
        """Return the rows at the positions `index`, or where the mask `index` is true."""
        chosen = np.asarray(index)
        # numpy converts an empty list into an array of floats
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return Inputs(
            self.event_time[chosen],
            None if self.entity is None else [self.entity[i] for i in chosen],
            {name: values[chosen] for name, values in self.known.items()},
            {name: values[chosen] for name, values in self.history.items()},
        )

    @staticmethod
    def concat(parts: Sequence[Inputs]) -> Inputs:
        """Return the rows of all parts (at least one, of one schema), one part after the other."""
        first = parts[0]
        return Inputs(
            np.concatenate([part.event_time for part in parts]),
            None if first.entity is None else [name for part in parts for name in part.entity or []],
            {name: np.concatenate([part.known[name] for part in parts]) for name in first.known},
            {name: np.concatenate([part.history[name] for part in parts]) for name in first.history},
        )


# From frames


def cut_inputs(timeline: Timeline, schema: InputSchema, events: pd.DataFrame, series: pd.DataFrame) -> Inputs:
    """Cut the inputs that are known when each event's prediction is due.

    This is the only function that joins events with past values, so that no future data leaks into training.

    Args:
        timeline: the project's time.
        schema: which columns are needed.
        events: n rows with `event_time` (datetime64[ns, UTC]), `entity` where the schema has one, and the known
            columns.
        series: rows with `event_time`, `entity` and the columns of past values. It may hold any rows: values that are
            not known at an event's due moment are never used. A timestamp between two grid points counts for the later
            one, so that its value is never used too early.

    Returns:
        Inputs of n rows, in the order of `events`; NaN where the series has no value.

    Raises:
        InputError: a column is missing, or holds values of another type.
    """
    _require_columns(schema, "events", events, [EVENT_TIME, *([ENTITY] if schema.entity else []), *schema.known])
    _require_columns(schema, "series", series, [EVENT_TIME, *([ENTITY] if schema.entity else []), *schema.history])
    times = _utc(events[EVENT_TIME])
    entity = [str(name) for name in events[ENTITY]] if schema.entity else None
    return Inputs(
        times,
        entity,
        {name: _known_values(schema, name, events[name]) for name in schema.known},
        {name: _history_values(timeline, schema, name, times, entity, series) for name in schema.history},
    )


def _require_columns(schema: InputSchema, what: str, frame: pd.DataFrame, columns: list[str]) -> None:
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise InputError(
            schema.project,
            f"{what}: {', '.join(absent)}",
            f"columns are {list(frame.columns)}",
            "read these columns as well",
        )


def _utc(times: pd.Series) -> Times:
    return pd.DatetimeIndex(times).tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[ns]")


def _known_values(schema: InputSchema, name: str, column: pd.Series) -> npt.NDArray[Any]:
    if schema.known[name] == "category":
        return np.array([category_name(value) for value in column], dtype=object)
    return _as_floats(schema, name, column)


def _as_floats(schema: InputSchema, name: str, column: pd.Series) -> Floats:
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    except (TypeError, ValueError) as error:
        raise InputError(schema.project, name, f"numbers are required: {error}", "check the column's dtype") from error
    # an infinite value cannot be sent in a request, so it is missing in training as well
    values[np.isinf(values)] = np.nan
    return values


def _history_values(
    timeline: Timeline, schema: InputSchema, column: str, times: Times, entity: list[str] | None, series: pd.DataFrame
) -> Floats:
    due = times - np.timedelta64(timeline.horizon)
    newest = timeline.newest_known(due, column)
    values, stamps = _series_values(schema, column, series), _utc(series[EVENT_TIME])
    # rounded up: a value between two grid points is known only after the value of the later one
    cells = timeline.grid.steps_up(stamps)
    if entity is None:
        return _cut(cells, values, newest, schema.steps)
    result = np.full((len(times), schema.steps), np.nan)
    rows_of = _positions(entity)
    series_of = _positions([str(name) for name in series[ENTITY]])
    for name, rows in rows_of.items():
        own = series_of.get(name)
        if own is not None:
            result[rows] = _cut(cells[own], values[own], newest[rows], schema.steps)
    return result


def _positions(names: list[str]) -> dict[str, npt.NDArray[np.int64]]:
    codes, levels = pd.factorize(np.array(names, dtype=object))
    return {str(level): np.flatnonzero(codes == code) for code, level in enumerate(levels)}


def _series_values(schema: InputSchema, column: str, series: pd.DataFrame) -> Floats:
    """Return a column's values as float64; of a classification target the index of the class."""
    if column != schema.target or schema.task == "regression":
        return _as_floats(schema, column, series[column])
    names = [category_name(value) for value in series[column]]
    unknown = sorted({name for name in names if name is not None} - set(schema.classes))
    if unknown:
        raise InputError(
            schema.project,
            column,
            f"{unknown} are not classes; the classes are {schema.classes}",
            "set these values to null",
        )
    index = {name: float(number) for number, name in enumerate(schema.classes)}
    return np.array([np.nan if name is None else index[name] for name in names], dtype=np.float64)


def _cut(cells: npt.NDArray[np.int64], values: Floats, newest: npt.NDArray[np.int64], steps: int) -> Floats:
    """Return, for each of n grid indices, the `steps` values that end there; NaN where a grid cell has no value."""
    if not len(newest):
        return np.empty((0, steps))
    first, last = int(newest.min()) - steps + 1, int(newest.max())
    dense = np.full(last - first + 1, np.nan)
    inside = (cells >= first) & (cells <= last)
    dense[cells[inside] - first] = values[inside]
    return np.lib.stride_tricks.sliding_window_view(dense, steps)[newest - steps + 1 - first].copy()


def without_unknown_classes(schema: InputSchema, series: pd.DataFrame) -> pd.DataFrame:
    """Return past values in which classes of the target that the schema does not have are missing."""
    if not schema.classes or schema.target not in schema.history:
        return series
    target = series[schema.target]
    return series.assign(**{schema.target: target.where(target.map(category_name).isin(schema.classes))})


# To and from requests


def to_records(inputs: Inputs, schema: InputSchema) -> list[dict[str, Any]]:
    """Return inputs as rows of a request: JSON values only, missing ones as null."""
    columns: dict[str, list[Any]] = {EVENT_TIME: [iso(time) for time in _datetimes(inputs.event_time)]}
    if inputs.entity is not None:
        columns[ENTITY] = list(inputs.entity)
    for name, dtype in schema.known.items():
        columns[name] = [_json_value(value, dtype) for value in inputs.known[name].tolist()]
    for name in schema.history:
        rows = inputs.history[name].tolist()
        columns[schema.history_field(name)] = [[None if value != value else value for value in row] for row in rows]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _datetimes(times: Times) -> Iterator[datetime]:
    for time in times.astype("datetime64[us]").tolist():
        yield time.replace(tzinfo=UTC)


def _json_value(value: Any, dtype: Dtype) -> Any:
    if value is None or value != value:
        return None
    if dtype == "int":
        return int(value)
    return bool(value) if dtype == "bool" else value


def from_records(records: Sequence[Mapping[str, Any]], schema: InputSchema) -> Inputs:
    """Read rows of a request strictly: a row must have exactly the fields of the schema, with values of their types.

    Args:
        records: rows with `event_time` (ISO 8601 with zone), `entity`, the known columns and one array for
            each column of past values (a list with null for missing values, or a numpy array with NaN for them).
        schema: the fields and their types.

    Raises:
        InputError: `place` is the field, `row` the row.
    """
    fields = schema.fields
    for number, record in enumerate(records):
        if record.keys() != set(fields):
            _raise_wrong_fields(record, fields, schema, number)
    return Inputs(
        np.array(
            [read_event_time(record[EVENT_TIME], schema, i) for i, record in enumerate(records)], dtype="datetime64[ns]"
        ),
        [read_entity(record[ENTITY], schema, i) for i, record in enumerate(records)] if schema.entity else None,
        {name: _known_from(records, name, schema) for name in schema.known},
        {name: _history_from(records, schema.history_field(name), schema) for name in schema.history},
    )


def _raise_wrong_fields(record: Mapping[str, Any], fields: list[str], schema: InputSchema, number: int) -> None:
    absent = [name for name in fields if name not in record]
    unknown = sorted(str(name) for name in record if name not in fields)
    field, found = (absent[0], "is missing") if absent else (unknown[0], "is not an input of this model")
    raise input_error(schema, field, number, f"{field!r} {found}", f"send exactly {', '.join(fields)}")


def _known_from(records: Sequence[Mapping[str, Any]], name: str, schema: InputSchema) -> npt.NDArray[Any]:
    read = read_category if schema.known[name] == "category" else read_number
    dtype = object if schema.known[name] == "category" else np.float64
    return np.array([read(record[name], name, schema, number) for number, record in enumerate(records)], dtype=dtype)


def _history_from(records: Sequence[Mapping[str, Any]], field: str, schema: InputSchema) -> Floats:
    result = np.empty((len(records), schema.steps))
    for number, record in enumerate(records):
        result[number] = read_past_values(record[field], field, schema, number)
    return result
