"""The pandera schemas that a project's declared columns imply.

This module is imported when rows are validated, because pandera loads slowly.
"""

from __future__ import annotations

import json
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from pandera.engines.pandas_engine import DataType
from pandera.errors import SchemaErrors
from pandera.pandas import Check, DataFrameSchema
from pandera.pandas import Column as PanderaColumn

from mlops_assets.prediction.fields import category_name
from mlops_assets.source.casting import Mask, cast_values
from mlops_assets.spec import Column

IN_WORDS = {"float": "a number", "int": "a whole number", "bool": "true or false", "category": "text"}
"""The declared types, as a report names them."""
Cell = tuple[int, str, str]
"""Position of a row, column, and the check that the value fails."""


class DeclaredType(DataType):
    """A type of `data.columns` as a pandera type that is checked value by value, so that a report names the rows.

    pandera's own types are checked for a column as a whole, and would accept the string "3" as a number.

    Args:
        name: `float`, `int`, `bool` or `category`.
    """

    type = np.dtype(object)
    name: str

    def __init__(self, name: str) -> None:
        # The base class's __init__ is for registered types and warns, so it is not called. Its instances are frozen.
        object.__setattr__(self, "name", name)

    def check(self, pandera_dtype: Any, data_container: Any | None = None) -> bool | Mask:
        """Return which values are missing or of this type; True when all are, which pandera processes faster."""
        if data_container is None:
            return bool(pandera_dtype == self)
        uncastable = cast_values(data_container, self.name, nullable=True)[1]
        return ~uncastable if uncastable.any() else True

    def __str__(self) -> str:
        return IN_WORDS[self.name]


@lru_cache(maxsize=32)
def schemas(columns: str, wanted: tuple[tuple[str, str], ...]) -> tuple[DataFrameSchema, DataFrameSchema]:
    """Return the schema of the values as they came (types), and the schema of the cast values (all else).

    Types have a schema of their own, because pandera runs the checks of a column in no fixed order, and a range cannot
    be checked for a value that is not a number.

    Args:
        columns: the JSON of a project's `data.columns`.
        wanted: the columns to validate, each with its declared type.
    """
    declared = {name: Column.model_validate(column) for name, column in json.loads(columns)["columns"].items()}
    types = {name: PanderaColumn(DeclaredType(dtype), nullable=True) for name, dtype in wanted}
    values = {
        name: PanderaColumn(None, _checks(declared[name], dtype), nullable=declared[name].nullable)
        for name, dtype in wanted
    }
    return DataFrameSchema(types), DataFrameSchema(values)


def failing_cells(schema: DataFrameSchema, frame: pd.DataFrame) -> list[Cell]:
    """Return every value of a frame with a range index that a schema refuses, with the check that it fails."""
    try:
        with warnings.catch_warnings():
            # pandera concatenates the reports of all columns, and pandas warns about the dtype of empty ones
            warnings.filterwarnings("ignore", message=".*concatenation with empty", category=FutureWarning)
            schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        checks = [_wording(check) for check in cases["check"]]
        return list(zip(cases["index"].astype(int).tolist(), cases["column"].tolist(), checks, strict=True))
    return []


def _wording(check: str) -> str:
    """Return a check in the words of a report; those of `_checks` are worded already."""
    if check == "not_nullable":
        return "present"
    return check.removeprefix("dtype('").removesuffix("')")


def _checks(column: Column, dtype: str) -> list[Check]:
    checks = [Check(lambda values: ~np.isinf(values), error="finite")] if dtype == "float" else []
    if dtype in ("float", "int"):
        checks += [Check.ge(column.ge, error=f">= {column.ge:g}")] if column.ge is not None else []
        checks += [Check.le(column.le, error=f"<= {column.le:g}")] if column.le is not None else []
    if column.isin is not None:
        allowed = [category_name(value) for value in column.isin] if dtype == "category" else list(column.isin)
        checks.append(Check.isin(allowed, error=f"one of {', '.join(map(str, allowed))}"))
    return checks
