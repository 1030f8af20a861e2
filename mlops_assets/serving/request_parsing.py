"""Parse the body of a request: the input forms that MLflow's own server takes for a model with named columns.

These are JSON with `dataframe_records`, `dataframe_split` or `inputs` (a list of records, or one), and Parquet. For a
model without array columns also CSV, `instances`, and both `inputs` and `instances` as columns. MLflow ignores other
keys of the body and other columns; here they are errors, since a misspelt one would change the prediction.
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

from mlops_assets.prediction.fields import REQUIRED
from mlops_assets.prediction.schema import EVENT_TIME, InputSchema
from mlops_assets.timeline import parse

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
FORMS = ("dataframe_records", "dataframe_split", "inputs")
FORMS_WITHOUT_ARRAYS = (*FORMS, "instances")
SCORER_KEYS = ("due", "now")

PARQUET_ROWS, PARQUET_VALUES = 100_000, 4_000_000
"""Largest number of rows and values in Parquet, about those of the largest JSON: a small file may hold any number."""

Record = dict[str, Any]


class RequestError(Exception):
    """A request fails; the client gets this error.

    Args:
        status: HTTP status: 4xx for an error of the client, 5xx for one of the service.
        field: the column, key of the body, or header at fault.
        message: what was found and what is required.
        row: number of the row in the request, counted from 0; None when the error is not about one row.
    """

    def __init__(self, status: int, field: str, message: str, row: int | None = None) -> None:
        # names come from the request, which may contain lone surrogates; they cannot be encoded
        self.status, self.field, self.message, self.row = status, _encodable(field), _encodable(message), row
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """Return the body of the response, as `ErrorBody` describes it."""
        return {"error": {"field": self.field, "message": self.message, "row": self.row}}


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


@dataclass(frozen=True)
class ScoringRequest:
    """A parsed request.

    Attributes:
        records: its rows, at least one; their values are not checked yet.
        due: when the prediction of each row is due. Only the scorer sends it; these predictions count as the events'.
        now: the project's time of each row's request. Only the scorer sends it.
        invalid_json: what is invalid in the JSON, when it was read leniently to find the field at fault.
    """

    records: list[Record]
    due: list[datetime] | None
    now: list[datetime] | None
    invalid_json: str | None = None


def read_body(body: bytes, content_type: str | None, schema: InputSchema, scorer: bool) -> ScoringRequest:
    """Parse a request's body.

    Args:
        body: the body.
        content_type: the header `Content-Type`.
        schema: the inputs of the version that serves.
        scorer: whether the request has the scorer's token.

    Raises:
        RequestError: the body is in none of the supported forms.
    """
    mime = _mime(content_type, [JSON, PARQUET] if schema.history else [JSON, PARQUET, CSV])
    if mime != JSON:
        return ScoringRequest(
            _require_rows(_from_csv(body, schema) if mime == CSV else _from_parquet(body), "body"), None, None
        )
    parsed, invalid_json = _parse_json(body)
    forms = FORMS if schema.history else FORMS_WITHOUT_ARRAYS
    if not isinstance(parsed, dict):
        raise RequestError(400, "body", f"an object with one of {', '.join(forms)} is required, not {_kind(parsed)}")
    form = _form(parsed, forms)
    records = _require_rows(_records(parsed[form], form, schema), form)
    due, now = _scorer_keys(parsed, len(records), scorer)
    return ScoringRequest(records, due, now, invalid_json)


def _records(content: Any, form: str, schema: InputSchema) -> list[Record]:
    if form == "dataframe_split":
        return _from_split(content)
    if form == "dataframe_records" or not isinstance(content, dict):
        return _from_list(content, form)
    if not any(isinstance(content.get(name), list) for name in (EVENT_TIME, *schema.known)):
        return [content]
    if schema.history:
        raise RequestError(400, form, "a list of records is required, not columns: some of these hold arrays")
    return _from_columns(content, form)


def _mime(content_type: str | None, accepted: Sequence[str]) -> str:
    mime, *parameters = (part.strip() for part in (content_type or "").split(";"))
    if mime.lower() not in accepted:
        raise RequestError(415, "Content-Type", f"{' or '.join(accepted)} is required, not {mime[:80] or 'nothing'!r}")
    for parameter in filter(None, parameters):
        name, _, value = parameter.partition("=")
        if name.strip().lower() != "charset" or value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            raise RequestError(
                415, "Content-Type", f"charset=utf-8 is the only parameter supported, not {parameter[:80]!r}"
            )
    return mime.lower()


def _parse_json(body: bytes) -> tuple[Any, str | None]:
    try:
        return orjson.loads(body), None
    except orjson.JSONDecodeError as error:
        message = f"not valid JSON: {error}"
        # Python's parser accepts NaN and Infinity, which are not JSON: it is used to find out where they are
        if b"NaN" in body or b"Infinity" in body:
            try:
                return json.loads(body), message
            except (ValueError, RecursionError):
                pass  # there are other errors in it; the first parser's message is used
        raise RequestError(400, "body", message) from error


def _form(parsed: dict[str, Any], forms: Sequence[str]) -> str:
    found = [key for key in forms if key in parsed]
    others = [key for key in parsed if key not in (*forms, *SCORER_KEYS, "params")]
    if others:
        raise RequestError(400, others[0][:80], f"unknown key; exactly one of {', '.join(forms)} is required")
    if len(found) != 1:
        raise RequestError(400, "body", f"exactly one of {', '.join(forms)} is required, not {found or 'none of them'}")
    if parsed.get("params"):
        raise RequestError(400, "params", "this model takes no parameters; leave params out")
    return found[0]


def _require_rows(records: list[Record], field: str) -> list[Record]:
    if not records:
        raise RequestError(400, field, "no rows; at least one is required")
    return records


def _from_list(rows: Any, form: str) -> list[Record]:
    if not isinstance(rows, list):
        raise RequestError(400, form, f"a list of records is required, not {_kind(rows)}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(400, form, f"a record (an object) is required, not {_kind(row)}", number)
    return rows


def _from_columns(columns: dict[str, Any], form: str) -> list[Record]:
    lengths = {name: len(values) if isinstance(values, list) else None for name, values in columns.items()}
    wanted = max(length for length in lengths.values() if length is not None)
    for name, length in lengths.items():
        if length != wanted:
            raise RequestError(
                400, f"{form}.{name}"[:80], f"a list of {wanted} values is required, as in the other columns"
            )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _from_split(split: Any) -> list[Record]:
    if not isinstance(split, dict) or not {"columns", "data"} <= split.keys() <= {"columns", "data", "index"}:
        raise RequestError(400, "dataframe_split", "an object with columns and data (and optionally index) is required")
    columns, data = split["columns"], split["data"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise RequestError(400, "dataframe_split.columns", "a list of names is required")
    if len(set(columns)) != len(columns):
        raise RequestError(400, "dataframe_split.columns", "a name occurs twice")
    if not isinstance(data, list):
        raise RequestError(400, "dataframe_split.data", f"a list of rows is required, not {_kind(data)}")
    if "index" in split and (not isinstance(split["index"], list) or len(split["index"]) != len(data)):
        raise RequestError(400, "dataframe_split.index", f"a list of {len(data)} labels is required, one per row")
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise RequestError(400, "dataframe_split.data", f"a row of {len(columns)} values is required", number)
    return [dict(zip(columns, row, strict=True)) for row in data]


def _from_parquet(body: bytes) -> list[Record]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        remedy = "send JSON, or install mlops-assets[endpoint,parquet]"
        raise RequestError(415, "Content-Type", f"this service cannot read Parquet: {remedy}") from error
    try:
        file = parquet.ParquetFile(pa.BufferReader(body))
        if file.metadata.num_rows > PARQUET_ROWS:
            raise RequestError(413, "body", f"more than {PARQUET_ROWS} rows; send fewer at once")
        if sum(_values(file.metadata.row_group(n)) for n in range(file.metadata.num_row_groups)) > PARQUET_VALUES:
            raise RequestError(413, "body", f"more than {PARQUET_VALUES} values; send fewer rows at once")
        records: list[Record] = file.read().to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError, LookupError) as error:
        # the last two are raised for times outside of datetime's range, and for unknown zones
        raise RequestError(400, "body", f"not valid Parquet: {str(error)[:200]}") from error
    return records


def _values(group: Any) -> int:
    return sum(group.column(number).num_values for number in range(group.num_columns))


def is_compressed(content_type: str) -> bool:
    """Return whether a small body may take long to parse."""
    return content_type.lower().startswith(PARQUET)


def _from_csv(body: bytes, schema: InputSchema) -> list[Record]:
    try:
        lines = [line for line in csv.reader(StringIO(body.decode("utf-8"), newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(400, "body", f"not valid CSV: {error}") from error
    header, *rows = lines or [[]]
    if len(set(header)) != len(header):
        raise RequestError(400, "body", "a column's name occurs twice in the first line")
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
            raise RequestError(422, name, f"true or false is required, not {text[:80]!r}", number)
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError as error:
        raise RequestError(422, name, f"{REQUIRED[dtype]}, not {text[:80]!r}", number) from error


def _scorer_keys(
    parsed: dict[str, Any], rows: int, scorer: bool
) -> tuple[list[datetime], list[datetime]] | tuple[None, None]:
    given = [key for key in SCORER_KEYS if key in parsed]
    if not given:
        return None, None
    if not scorer:
        message = "only the scorer sends this; send its X-Scorer-Token, or leave it out"
        raise RequestError(403, given[0], message)
    if len(given) != len(SCORER_KEYS):
        raise RequestError(400, given[0], f"{' and '.join(SCORER_KEYS)} are required together")
    return _times(parsed["due"], rows, "due"), _times(parsed["now"], rows, "now")


def _times(values: Any, rows: int, field: str) -> list[datetime]:
    if not isinstance(values, list) or len(values) != rows:
        raise RequestError(400, field, f"a list of {rows} times is required, one per row")
    return [_time(value, field, number) for number, value in enumerate(values)]


def _time(value: Any, field: str, row: int) -> datetime:
    try:
        if not isinstance(value, str):
            raise ValueError(f"a string is required, not {_kind(value)}")
        return parse(value)
    except (ValueError, OverflowError) as error:
        raise RequestError(422, field, f"not a valid timestamp: {str(error)[:200]}", row) from error


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}.get(
        type(value), "a number"
    )
