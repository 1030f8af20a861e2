"""What a model is asked with: known columns and history windows, cut from frames or read from requests.

Training, the scorer and the evaluator cut with `cut_inputs`; the service reads requests with `from_records`. Both give
the same `Inputs`, so that everything behind them is one code path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict

from mlops_assets.errors import InputError
from mlops_assets.prediction.fields import (
    category_name as category_name,
)
from mlops_assets.prediction.fields import (
    read_category,
    read_entity,
    read_event_time,
    read_number,
    read_window,
    refuse,
)
from mlops_assets.spec.data import Column
from mlops_assets.spec.project import ProjectSpec
from mlops_assets.timeline import Timeline, Times, iso

Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]
Dtype = Literal["float", "int", "bool", "category"]
EVENT_TIME, ENTITY = "event_time", "entity"


class InputSchema(BaseModel):
    """What a row that asks a project's model holds; travels with every version."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    project: str
    task: Literal["regression", "classification"]
    target: str
    classes: list[str] = []
    """Of a classification target, in the order of the project's YAML."""
    known: dict[str, Dtype] = {}
    """Columns known when an answer is due, with their type."""
    nullable: list[str] = []
    """Known columns that may be null."""
    history: list[str] = []
    """Columns whose recent past is sent as an array."""
    steps: int = 0
    """Length of each array, in grid steps."""
    entity: bool = False
    """Whether a row names its series."""
    entities: list[str] | None = None
    """Series seen in training; None before it, and where there is one series only."""

    @classmethod
    def of(cls, spec: ProjectSpec) -> InputSchema:
        """The schema that a project's YAML implies."""
        columns, history = spec.data.columns, spec.features.history
        return cls(
            project=spec.name,
            task=spec.problem.task,
            target=spec.problem.target,
            classes=spec.classes,
            known={name: columns[name].dtype for name in spec.features.known},
            nullable=[name for name in spec.features.known if columns[name].nullable],
            history=list(history.columns) if history else [],
            steps=Timeline(spec).feature_window_steps,
            entity=spec.data.entity is not None,
        )

    def asks_like(self, other: InputSchema) -> bool:
        """Whether what is sent to the one can be sent to the other; the series seen in training make no difference."""
        return self.model_copy(update={"entities": None}) == other.model_copy(update={"entities": None})

    def out_of_reach(self, spec: ProjectSpec) -> list[str]:
        """What a model with this schema is asked with and the YAML no longer declares so: nobody can ask it any more.

        A YAML changes while a version serves, and that version goes on being asked as it was trained.
        """
        columns = spec.data.columns
        known = [name for name, dtype in self.known.items() if name not in columns or not _reads(dtype, columns[name])]
        past = [name for name in self.history if name not in columns or not _is_past(name, spec)]
        entity = [ENTITY] if self.entity != (spec.data.entity is not None) else []
        return list(dict.fromkeys([*entity, *known, *past]))

    def history_field(self, column: str) -> str:
        """A history column's name in a request: its own, unless a known column has it already."""
        return f"{column}_history" if column in self.known else column

    @property
    def fields(self) -> list[str]:
        """All names of a request's row, in order."""
        entity = [ENTITY] if self.entity else []
        return [EVENT_TIME, *entity, *self.known, *(self.history_field(column) for column in self.history)]

    @property
    def columns(self) -> list[str]:
        """The columns of a frame that a model with this schema needs, known and history, each once."""
        return list(dict.fromkeys([*self.known, *self.history]))


def _reads(dtype: Dtype, column: Column) -> bool:
    return column.dtype == dtype or (dtype == "float" and column.dtype == "int")


def _is_past(column: str, spec: ProjectSpec) -> bool:
    return column == spec.problem.target or spec.data.columns[column].dtype != "category"


@dataclass(frozen=True)
class Inputs:
    """n rows to be answered, column by column."""

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
        """The rows at the positions, or under the mask, `index`."""
        chosen = np.asarray(index)
        # an empty list is an array of floats to numpy
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return Inputs(
            self.event_time[chosen],
            None if self.entity is None else [self.entity[i] for i in chosen],
            {name: values[chosen] for name, values in self.known.items()},
            {name: values[chosen] for name, values in self.history.items()},
        )

    @staticmethod
    def concat(parts: Sequence[Inputs]) -> Inputs:
        """All parts (at least one, of one schema) after each other."""
        first = parts[0]
        return Inputs(
            np.concatenate([part.event_time for part in parts]),
            None if first.entity is None else [name for part in parts for name in part.entity or []],
            {name: np.concatenate([part.known[name] for part in parts]) for name in first.known},
            {name: np.concatenate([part.history[name] for part in parts]) for name in first.history},
        )


# From frames


def cut_inputs(timeline: Timeline, schema: InputSchema, events: pd.DataFrame, series: pd.DataFrame) -> Inputs:
    """Cut what may be known when each event's answer is due; the one place where history meets an event.

    Args:
        timeline: the project's time.
        schema: which columns are needed.
        events: n rows with `event_time` (datetime64[ns, UTC]), `entity` where the schema has one, and the known
            columns.
        series: rows of the past with `event_time`, `entity` and the history columns. Values that are not known at an
            event's due moment are never taken, so it may hold any rows. A stamp between two grid points counts for the
            later one, so that its value is never taken too early.

    Returns:
        Inputs of n rows, in the order of `events`; NaN where the series has no value.

    Raises:
        InputError: when a column is missing, or holds what its type cannot.
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
            "read these columns too",
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
        raise InputError(schema.project, name, f"numbers were expected: {error}", "check the column's dtype") from error
    # an infinite value cannot be sent in a request, so training does not see it either
    values[np.isinf(values)] = np.nan
    return values


def _history_values(
    timeline: Timeline, schema: InputSchema, column: str, times: Times, entity: list[str] | None, series: pd.DataFrame
) -> Floats:
    due = times - np.timedelta64(timeline.horizon)
    newest = timeline.newest_known(due, column)
    values, stamps = _series_values(schema, column, series), _utc(series[EVENT_TIME])
    # rounded up: a value stamped between two grid points is known only after the later one's
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
    """A history column as float64; a classification target as the index of its class."""
    if column != schema.target or schema.task == "regression":
        return _as_floats(schema, column, series[column])
    names = [category_name(value) for value in series[column]]
    foreign = sorted({name for name in names if name is not None} - set(schema.classes))
    if foreign:
        raise InputError(
            schema.project, column, f"{foreign} are no classes; known are {schema.classes}", "null these values"
        )
    index = {name: float(number) for number, name in enumerate(schema.classes)}
    return np.array([np.nan if name is None else index[name] for name in names], dtype=np.float64)


def _cut(cells: npt.NDArray[np.int64], values: Floats, newest: npt.NDArray[np.int64], steps: int) -> Floats:
    """For each of n grid indices the `steps` values that end there, from values at grid cells; NaN where none is."""
    if not len(newest):
        return np.empty((0, steps))
    first, last = int(newest.min()) - steps + 1, int(newest.max())
    dense = np.full(last - first + 1, np.nan)
    inside = (cells >= first) & (cells <= last)
    dense[cells[inside] - first] = values[inside]
    return np.lib.stride_tricks.sliding_window_view(dense, steps)[newest - steps + 1 - first].copy()


def as_known_to(schema: InputSchema, series: pd.DataFrame) -> pd.DataFrame:
    """The past as a version with this schema can be told it: a class that it has never heard of is missing."""
    if not schema.classes or schema.target not in schema.history:
        return series
    target = series[schema.target]
    return series.assign(**{schema.target: target.where(target.map(category_name).isin(schema.classes))})


# To and from requests


def to_records(inputs: Inputs, schema: InputSchema) -> list[dict[str, Any]]:
    """Write inputs as rows of a request: JSON values only, missing ones null."""
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
    """Read rows of a request, strictly: what is not exactly as the schema says is refused.

    Args:
        records: rows with `event_time` (ISO 8601 with zone), `entity`, the known columns and one array per history
            column (lists with null for missing values, or numpy arrays with NaN for them).
        schema: what a row must hold.

    Raises:
        InputError: `place` names the field; the message names the row, counted from 0.
    """
    fields = schema.fields
    for number, record in enumerate(records):
        if record.keys() != set(fields):
            _refuse_fields(record, fields, schema, number)
    return Inputs(
        np.array(
            [read_event_time(record[EVENT_TIME], schema, i) for i, record in enumerate(records)], dtype="datetime64[ns]"
        ),
        [read_entity(record[ENTITY], schema, i) for i, record in enumerate(records)] if schema.entity else None,
        {name: _known_from(records, name, schema) for name in schema.known},
        {name: _history_from(records, schema.history_field(name), schema) for name in schema.history},
    )


def _refuse_fields(record: Mapping[str, Any], fields: list[str], schema: InputSchema, number: int) -> None:
    absent = [name for name in fields if name not in record]
    foreign = sorted(str(name) for name in record if name not in fields)
    field, found = (absent[0], "is missing") if absent else (foreign[0], "is not an input of this model")
    raise refuse(schema, field, number, f"{field!r} {found}", f"send exactly {', '.join(fields)}")


def _known_from(records: Sequence[Mapping[str, Any]], name: str, schema: InputSchema) -> npt.NDArray[Any]:
    read = read_category if schema.known[name] == "category" else read_number
    dtype = object if schema.known[name] == "category" else np.float64
    return np.array([read(record[name], name, schema, number) for number, record in enumerate(records)], dtype=dtype)


def _history_from(records: Sequence[Mapping[str, Any]], field: str, schema: InputSchema) -> Floats:
    result = np.empty((len(records), schema.steps))
    for number, record in enumerate(records):
        result[number] = read_window(record[field], field, schema, number)
    return result
