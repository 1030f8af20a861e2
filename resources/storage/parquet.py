"""Rows as Parquet bytes. Equal rows give equal bytes, so their md5 identifies the rows."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any

import pandas as pd


def to_parquet(frame: pd.DataFrame) -> bytes:
    """Return rows as a Parquet file, without index, pandas metadata or time of writing.

    Args:
        frame: columns of numbers, booleans, timestamps or text. Missing values become nulls. Values of other types are
            written as text.

    Returns:
        The bytes of the file: the same for equal rows, columns and types, with the same release of pyarrow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {str(name): _column(frame.iloc[:, at]) for at, name in enumerate(frame.columns)}
    buffer = BytesIO()
    pq.write_table(
        pa.table(columns), buffer, version="2.6", compression="zstd", use_dictionary=True, store_schema=False
    )
    return buffer.getvalue()


def from_parquet(data: bytes) -> pd.DataFrame:
    """Return the rows of a file that `to_parquet` wrote.

    Integers and booleans with nulls get the dtypes Int64 and boolean, text gets dtype object.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    frame: pd.DataFrame = table.to_pandas(use_threads=False)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count and (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
            kind: Any = "boolean" if pa.types.is_boolean(column.type) else "Int64"
            frame[name] = pd.array(column.to_pylist(), dtype=kind)
    return frame


def md5(data: bytes) -> str:
    """Return the md5 of bytes in hexadecimal, by which DVC names a file."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _column(column: pd.Series) -> Any:
    import pyarrow as pa

    if column.dtype == object or isinstance(column.dtype, pd.CategoricalDtype):
        return pa.array([_text(value) for value in column], type=pa.string())
    # one array per column: the file must not depend on how pandas groups columns into blocks
    return pa.array(column.array, from_pandas=True)


def _text(value: Any) -> str | None:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, dict | list):
        import orjson

        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()
    return str(value)
