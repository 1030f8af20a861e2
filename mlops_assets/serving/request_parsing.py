"""A request's body, read: the input forms that stock MLflow takes for a model with named columns.

JSON `dataframe_records`, `dataframe_split`, `inputs` (a list of records, or one), and Parquet; where no column is an
array, also CSV, `instances`, and both `inputs` and `instances` as columns. MLflow ignores other keys of the body and
other columns; here they are refused, since a misspelt one would change what is answered.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Any

import orjson

from mlops_assets.prediction.inputs import EVENT_TIME, InputSchema
from mlops_assets.timeline import parse

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
FORMS = ("dataframe_records", "dataframe_split", "inputs")
FORMS_WITHOUT_ARRAYS = (*FORMS, "instances")
SCORER_KEYS = ("due", "now")

PARQUET_ROWS, PARQUET_VALUES = 100_000, 4_000_000
"""A few bytes of Parquet can stand for any number of rows and values; so many are about what the largest JSON holds."""

Record = dict[str, Any]


class RequestError(Exception):
    """A request that is not answered, as the client is told.

    Args:
        status: HTTP status: 4xx for what the client did, 5xx for the service.
        field: what is at fault: a column, a key of the body, a header.
        message: what was found and what is expected.
        row: which row of the request, counted from 0; None where it is not about one.
    """

    def __init__(self, status: int, field: str, message: str, row: int | None = None) -> None:
        # names come from the request, where half a character can stand that no answer can be written with
        self.status, self.field, self.message, self.row = status, _writable(field), _writable(message), row
        super().__init__(message)


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True)
class ScoringRequest:
    """What a request asks."""

    records: list[Record]
    """At least one; their content is not checked yet."""
    due: list[datetime] | None
    """Of each row, from the scorer only: these rows become their events' answers."""
    now: list[datetime] | None
    """Of each row, the project's time at which it is asked, from the scorer only."""
    suspect: str | None = None
    """What is wrong with the JSON, where it was read loosely to name the field at fault; never answered."""


def read_body(body: bytes, content_type: str | None, schema: InputSchema, scorer: bool) -> ScoringRequest:
    """Read a request's body.

    Args:
        body: as it was sent.
        content_type: the header.
        schema: of the model that will answer.
        scorer: whether the scorer's token came with it.

    Raises:
        Unanswered: when it is not in a form that can be answered.
    """
    mime = _mime(content_type, [JSON, PARQUET] if schema.history else [JSON, PARQUET, CSV])
    if mime != JSON:
        return ScoringRequest(
            _some(_from_csv(body, schema) if mime == CSV else _from_parquet(body), "body"), None, None
        )
    parsed, suspect = _parse_json(body)
    forms = FORMS if schema.history else FORMS_WITHOUT_ARRAYS
    if not isinstance(parsed, dict):
        raise RequestError(400, "body", f"an object with one of {', '.join(forms)} was expected, not {_kind(parsed)}")
    form = _form(parsed, forms)
    records = _some(_records(parsed[form], form, schema), form)
    due, now = _scorer_keys(parsed, len(records), scorer)
    return ScoringRequest(records, due, now, suspect)


def _records(content: Any, form: str, schema: InputSchema) -> list[Record]:
    if form == "dataframe_split":
        return _from_split(content)
    if form == "dataframe_records" or not isinstance(content, dict):
        return _from_list(content, form)
    if not any(isinstance(content.get(name), list) for name in (EVENT_TIME, *schema.known)):
        return [content]
    if schema.history:
        raise RequestError(400, form, "a list of records was expected, not columns: some of these hold arrays")
    return _from_columns(content, form)


def _mime(content_type: str | None, accepted: Sequence[str]) -> str:
    mime, *parameters = (part.strip() for part in (content_type or "").split(";"))
    if mime.lower() not in accepted:
        raise RequestError(415, "Content-Type", f"{' or '.join(accepted)} was expected, not {mime[:80] or 'nothing'!r}")
    for parameter in filter(None, parameters):
        name, _, value = parameter.partition("=")
        if name.strip().lower() != "charset" or value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise RequestError(
                415, "Content-Type", f"charset=utf-8 is the only parameter understood, not {parameter[:80]!r}"
            )
    return mime.lower()


def _parse_json(body: bytes) -> tuple[Any, str | None]:
    try:
        return orjson.loads(body), None
    except orjson.JSONDecodeError as error:
        message = f"not valid JSON: {error}"
        # Python's reader takes NaN and Infinity, which JSON does not know: only to find out where they are
        if b"NaN" in body or b"Infinity" in body:
            try:
                return json.loads(body), message
            except (ValueError, RecursionError):
                pass  # more is wrong with it than these; the first reader's message stands
        raise RequestError(400, "body", message) from error


def _form(parsed: dict[str, Any], forms: Sequence[str]) -> str:
    found = [key for key in forms if key in parsed]
    others = [key for key in parsed if key not in (*forms, *SCORER_KEYS, "params")]
    if others:
        raise RequestError(400, others[0][:80], f"unknown key; exactly one of {', '.join(forms)} was expected")
    if len(found) != 1:
        raise RequestError(
            400, "body", f"exactly one of {', '.join(forms)} was expected, not {found or 'none of them'}"
        )
    if parsed.get("params"):
        raise RequestError(400, "params", "this model takes no parameters; leave params out")
    return found[0]


def _some(records: list[Record], field: str) -> list[Record]:
    if not records:
        raise RequestError(400, field, "no rows; at least one was expected")
    return records


def _from_list(rows: Any, form: str) -> list[Record]:
    if not isinstance(rows, list):
        raise RequestError(400, form, f"a list of records was expected, not {_kind(rows)}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(400, form, f"a record (an object) was expected, not {_kind(row)}", number)
    return rows


def _from_columns(columns: dict[str, Any], form: str) -> list[Record]:
    lengths = {name: len(values) if isinstance(values, list) else None for name, values in columns.items()}
    wanted = max(length for length in lengths.values() if length is not None)
    for name, length in lengths.items():
        if length != wanted:
            raise RequestError(
                400, f"{form}.{name}"[:80], f"a list of {wanted} values was expected, as of other columns"
            )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _from_split(split: Any) -> list[Record]:
    if not isinstance(split, dict) or not {"columns", "data"} <= split.keys() <= {"columns", "data", "index"}:
        raise RequestError(
            400, "dataframe_split", "an object with columns and data (and index, if need be) was expected"
        )
    columns, data = split["columns"], split["data"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise RequestError(400, "dataframe_split.columns", "a list of names was expected")
    if len(set(columns)) != len(columns):
        raise RequestError(400, "dataframe_split.columns", "a name is there twice")
    if not isinstance(data, list):
        raise RequestError(400, "dataframe_split.data", f"a list of rows was expected, not {_kind(data)}")
    if "index" in split and (not isinstance(split["index"], list) or len(split["index"]) != len(data)):
        raise RequestError(400, "dataframe_split.index", f"a list of {len(data)} labels was expected, one per row")
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise RequestError(400, "dataframe_split.data", f"a row of {len(columns)} values was expected", number)
    return [dict(zip(columns, row, strict=True)) for row in data]


def _from_parquet(body: bytes) -> list[Record]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        remedy = "send JSON, or install mlops-assets[endpoint,parquet]"
        raise RequestError(415, "Content-Type", f"this service is installed without Parquet: {remedy}") from error
    try:
        file = parquet.ParquetFile(pa.BufferReader(body))
        if file.metadata.num_rows > PARQUET_ROWS:
            raise RequestError(413, "body", f"more than {PARQUET_ROWS} rows; send fewer at once")
        if sum(_values(file.metadata.row_group(n)) for n in range(file.metadata.num_row_groups)) > PARQUET_VALUES:
            raise RequestError(413, "body", f"more than {PARQUET_VALUES} values; send fewer rows at once")
        records: list[Record] = file.read().to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError, LookupError) as error:
        # the last two come of times that no datetime holds, and of zones that nobody knows
        raise RequestError(400, "body", f"not valid Parquet: {str(error)[:200]}") from error
    return records


def _values(group: Any) -> int:
    return sum(group.column(number).num_values for number in range(group.num_columns))


def is_compact(content_type: str) -> bool:
    """Whether a small body can take long to read."""
    return content_type.lower().startswith(PARQUET)


def _from_csv(body: bytes, schema: InputSchema) -> list[Record]:
    try:
        lines = [line for line in csv.reader(StringIO(body.decode("utf-8"), newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(400, "body", f"not valid CSV: {error}") from error
    header, *rows = lines or [[]]
    if len(set(header)) != len(header):
        raise RequestError(400, "body", "a column's name is there twice in the first line")
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise RequestError(400, "body", f"{len(row)} values, where the first line names {len(header)}", number)
    return [
        {name: _csv_value(text, name, schema, number) for name, text in zip(header, row, strict=True)}
        for number, row in enumerate(rows)
    ]


def _csv_value(text: str, name: str, schema: InputSchema, number: int) -> Any:
    dtype = schema.known.get(name, "category")  # time and entity are text too
    if text == "":
        return None
    if dtype == "category":
        return text
    if dtype == "bool":
        if text.lower() not in ("true", "false"):
            raise RequestError(422, name, f"true or false was expected, not {text[:80]!r}", number)
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError as error:
        raise RequestError(422, name, f"a {dtype} was expected, not {text[:80]!r}", number) from error


def _scorer_keys(
    parsed: dict[str, Any], rows: int, scorer: bool
) -> tuple[list[datetime], list[datetime]] | tuple[None, None]:
    given = [key for key in SCORER_KEYS if key in parsed]
    if not given:
        return None, None
    if not scorer:
        message = "only the scorer says when an answer is due; send its X-Scorer-Token, or leave this out"
        raise RequestError(403, given[0], message)
    if len(given) != len(SCORER_KEYS):
        raise RequestError(400, given[0], f"{' and '.join(SCORER_KEYS)} were expected together")
    return _times(parsed["due"], rows, "due"), _times(parsed["now"], rows, "now")


def _times(values: Any, rows: int, field: str) -> list[datetime]:
    if not isinstance(values, list) or len(values) != rows:
        raise RequestError(400, field, f"a list of {rows} times was expected, one per row")
    return [_time(value, field, number) for number, value in enumerate(values)]


def _time(value: Any, field: str, row: int) -> datetime:
    try:
        if not isinstance(value, str):
            raise ValueError(f"a string was expected, not {_kind(value)}")
        return parse(value)
    except (ValueError, OverflowError) as error:
        raise RequestError(422, field, f"no time: {str(error)[:200]}", row) from error


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )
