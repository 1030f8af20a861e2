"""Casts columns to the types that `data.columns` declares, and finds the values that have no such type."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.prediction.fields import category_name
from mlops_assets.spec import ProjectSpec

Mask = npt.NDArray[np.bool_]


def declared_type(spec: ProjectSpec, name: str) -> str:
    """Return `float`, `int`, `bool` or `category`: how a column is read. A classification target is a category."""
    if name == spec.problem.target and spec.problem.task == "classification":
        return "category"
    return spec.data.columns[name].dtype


def cast(frame: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows with each column in its declared type, except columns that hold a value of another type.

    float becomes float64; int becomes int64 (Int64 where values are missing or may be); bool becomes bool (boolean
    likewise); a category and a classification target become strings, None where missing. A column with a value that
    cannot be cast stays as it is, so that an audit can name the value.
    """
    typed, uncastable = cast_with_gaps(frame, spec, columns)
    for name, mask in uncastable.items():
        if mask.any():
            typed[name] = frame[name]
    return typed


def cast_with_gaps(
    frame: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, Mask]]:
    """Return the rows with every column in its declared type, and per column which values could not be cast.

    Values that cannot be cast are missing in the returned rows.
    """
    typed, uncastable = frame.copy(), {}
    for name in columns:
        nullable = spec.data.columns[name].nullable
        typed[name], uncastable[name] = cast_values(frame[name], declared_type(spec, name), nullable=nullable)
    return typed, uncastable


def cast_values(column: pd.Series, dtype: str, *, nullable: bool) -> tuple[pd.Series, Mask]:
    """Return the values in a declared type, and which of them could not be cast; these are missing.

    Args:
        column: the values as they came.
        dtype: `float`, `int`, `bool` or `category`.
        nullable: whether an int or bool column gets a dtype that can hold missing values.
    """
    if dtype == "float":
        numbers, uncastable = _numbers(column)
        return pd.Series(numbers.to_numpy(dtype=np.float64, na_value=np.nan), index=column.index), uncastable
    if dtype == "int":
        return _int(column, nullable)
    if dtype == "bool":
        return _bool(column, nullable)
    names = pd.Series([category_name(value) for value in column], index=column.index, dtype=object)
    return names, np.zeros(len(column), dtype=bool)


def _numbers(column: pd.Series) -> tuple[pd.Series, Mask]:
    if column.dtype.kind in "iuf":  # numpy's own numbers need no conversion
        return column, np.zeros(len(column), dtype=bool)
    absent = column.isna().to_numpy()
    if column.dtype == object:  # a string is not a number, not even "3"
        column = column.where(np.array([not isinstance(value, str) for value in column], dtype=bool))
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers, numbers.isna().to_numpy() & ~absent


def _int(column: pd.Series, nullable: bool) -> tuple[pd.Series, Mask]:
    numbers, uncastable = _numbers(column)
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    broken = ~np.isnan(values) & (values != np.floor(values)) | np.isinf(values)
    if isinstance(numbers.dtype, np.dtype) and numbers.dtype.kind in "iu" and not nullable:
        return numbers.astype(np.int64), uncastable
    whole = pd.Series(np.where(broken, np.nan, values), index=column.index).astype("Int64")
    return (whole if nullable or whole.isna().any() else whole.astype(np.int64)), uncastable | broken


def _bool(column: pd.Series, nullable: bool) -> tuple[pd.Series, Mask]:
    numbers, uncastable = _numbers(column)
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    broken = ~np.isnan(values) & (values != 0) & (values != 1)
    flags = pd.Series(np.where(broken, np.nan, values), index=column.index).astype("boolean")
    return (flags if nullable or flags.isna().any() else flags.astype(bool)), uncastable | broken
