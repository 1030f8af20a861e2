"""What rows must look like: types, and the pandera schema that a project's columns imply.

Every function names the columns it looks at, since who reads an event knows less than who reads a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.prediction.inputs import ENTITY, EVENT_TIME, category_name
from mlops_assets.spec import Column, ProjectSpec

SHOWN = 50
"""Failing cells that an audit shows; it counts all of them."""
FAULTS = ["row", EVENT_TIME, ENTITY, "column", "value", "check"]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Audit:
    """Whether rows are as declared, and where not."""

    passed: bool
    rows: int
    failures: pd.DataFrame
    """The first failing cells: row, event_time, entity, column, value (as text), check."""
    counts: dict[str, int]
    """Failing cells per `<column>: <check>`, over all rows."""

    @property
    def reasons(self) -> list[str]:
        """One sentence per check that failed, with its first failing row."""
        first = self.failures.drop_duplicates(["column", "check"])
        return [
            f"{row['column']} must be {row['check']}: {self.counts[_kind(row['column'], row['check'])]} of {self.rows} "
            f"rows are not, the first at {row[EVENT_TIME].isoformat()} with {row['value']}"
            for row in first.to_dict("records")
        ]


def audit(frame: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]) -> Audit:
    """Check all cells of some columns, and report all failures at once.

    Args:
        frame: rows with `event_time`, `entity` where the project has one, and the columns.
        spec: the project, whose `data.columns` say what passes.
        columns: those to look at; with the target among them a missing target fails.
    """
    found = faults(frame, spec, columns)
    kinds = pd.Series(map(_kind, found["column"], found["check"]), dtype=object).value_counts(sort=False)
    # of every check at least its first failing cell is shown
    order = found.groupby(["column", "check"], sort=False).cumcount().sort_values(kind="stable").index
    shown = found.loc[order[:SHOWN]].sort_index().reset_index(drop=True)
    return Audit(found.empty, len(frame), shown, {str(kind): int(count) for kind, count in kinds.items()})


def faults(frame: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]) -> pd.DataFrame:
    """All failing cells: position of the row, event_time, entity, column, value (as text), the check that it fails."""
    frame = frame.reset_index(drop=True)
    typed, foreign = _typed(frame, spec, columns)
    cells = [
        (int(row), name, f"a {_dtype(spec, name)}") for name, mask in foreign.items() for row in np.flatnonzero(mask)
    ]
    known = {(row, name) for row, name, _ in cells}
    cells += [cell for cell in _failing(typed, spec, columns) if cell[:2] not in known]
    if not cells:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in FAULTS})
    result = pd.DataFrame(cells, columns=["row", "column", "check"])
    result[EVENT_TIME] = frame[EVENT_TIME].iloc[result["row"]].to_numpy()
    result[EVENT_TIME] = pd.to_datetime(result[EVENT_TIME], utc=True)
    result[ENTITY] = frame[ENTITY].iloc[result["row"]].to_numpy() if ENTITY in frame else None
    result["value"] = [_shown(frame[name].iloc[row]) for row, name in zip(result["row"], result["column"], strict=True)]
    return result.sort_values(["row", "column"], kind="stable")[FAULTS].reset_index(drop=True)


def null_faults(frame: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]) -> pd.DataFrame:
    """The rows with every failing cell missing instead, so that a bad value of the past is none."""
    found = faults(frame, spec, columns)
    typed, _ = _typed(frame.reset_index(drop=True), spec, columns)
    for name, rows in found.groupby("column")["row"]:
        bad = np.isin(np.arange(len(typed)), rows.to_numpy(dtype=np.int64))
        blank = None if typed[name].dtype == object else pd.NA
        column = typed[name] if typed[name].dtype != np.int64 else typed[name].astype("Int64")
        column = column.astype("boolean") if column.dtype == bool else column
        typed[name] = column.mask(bad, np.nan if column.dtype == np.float64 else blank)
    return typed


def cast(frame: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]) -> pd.DataFrame:
    """The rows with each column in its declared type, except columns that hold a value which has none.

    float becomes float64, int int64 (Int64 where values are missing or may be), bool bool (boolean likewise); a
    category and a classification target become strings, None where missing. A column with a value that cannot be cast
    stays as it came, so that an audit can name it.
    """
    typed, foreign = _typed(frame, spec, columns)
    for name, mask in foreign.items():
        if mask.any():
            typed[name] = frame[name]
    return typed


def _typed(frame: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]) -> tuple[pd.DataFrame, dict[str, Mask]]:
    """Every column in its type, with what cannot be cast missing; and where that was."""
    typed, foreign = frame.copy(), {}
    for name in columns:
        typed[name], foreign[name] = _CASTS[_dtype(spec, name)](frame[name], spec.data.columns[name].nullable)
    return typed, foreign


def _dtype(spec: ProjectSpec, name: str) -> str:
    if name == spec.problem.target and spec.problem.task == "classification":
        return "category"
    return spec.data.columns[name].dtype


def _numbers(column: pd.Series) -> tuple[pd.Series, Mask]:
    if column.dtype.kind in "iuf":  # numpy's own numbers are what they are
        return column, np.zeros(len(column), dtype=bool)
    absent = column.isna().to_numpy()
    if column.dtype == object:  # a string is not a number, whatever it spells
        column = column.where(np.array([not isinstance(value, str) for value in column], dtype=bool))
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers, numbers.isna().to_numpy() & ~absent


def _float(column: pd.Series, nullable: bool) -> tuple[pd.Series, Mask]:
    numbers, foreign = _numbers(column)
    return pd.Series(numbers.to_numpy(dtype=np.float64, na_value=np.nan), index=column.index), foreign


def _int(column: pd.Series, nullable: bool) -> tuple[pd.Series, Mask]:
    numbers, foreign = _numbers(column)
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    broken = ~np.isnan(values) & (values != np.floor(values)) | np.isinf(values)
    if isinstance(numbers.dtype, np.dtype) and numbers.dtype.kind in "iu" and not nullable:
        return numbers.astype(np.int64), foreign
    whole = pd.Series(np.where(broken, np.nan, values), index=column.index).astype("Int64")
    return (whole if nullable or whole.isna().any() else whole.astype(np.int64)), foreign | broken


def _bool(column: pd.Series, nullable: bool) -> tuple[pd.Series, Mask]:
    numbers, foreign = _numbers(column)
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    broken = ~np.isnan(values) & (values != 0) & (values != 1)
    truth = pd.Series(np.where(broken, np.nan, values), index=column.index).astype("boolean")
    return (truth if nullable or truth.isna().any() else truth.astype(bool)), foreign | broken


def _category(column: pd.Series, nullable: bool) -> tuple[pd.Series, Mask]:
    names = pd.Series([category_name(value) for value in column], index=column.index, dtype=object)
    return names, np.zeros(len(column), dtype=bool)


_CASTS = {"float": _float, "int": _int, "bool": _bool, "category": _category}


def _kind(column: str, check: str) -> str:
    return f"{column}: {check}"


def _shown(value: Any) -> str:
    if category_name(value) is None:
        return "nothing"
    return f"{value!r:.80}" if isinstance(value, str) else f"{value!s:.80}"


def _failing(typed: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]) -> list[tuple[int, str, str]]:
    """(row, column, check) of each cell that the schema refuses."""
    from pandera.errors import SchemaErrors

    # found here, since pandera cannot put a missing cell and one of another type into one report without a warning
    absent = [
        (int(row), name, "present")
        for name in columns
        if not spec.data.columns[name].nullable
        for row in np.flatnonzero(typed[name].isna().to_numpy())
    ]
    declared = spec.data.model_dump_json(include={"columns"})
    try:
        _schema(declared, tuple((name, _dtype(spec, name)) for name in columns)).validate(typed, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        rows = cases["index"].astype(int).tolist()
        return absent + list(zip(rows, cases["column"].tolist(), cases["check"].tolist(), strict=True))
    return absent


@lru_cache(maxsize=32)
def _schema(columns: str, wanted: tuple[tuple[str, str], ...]) -> Any:
    """The pandera schema of some columns, each with the type it is read as."""
    import json

    from pandera.pandas import Column as Field
    from pandera.pandas import DataFrameSchema

    declared = {name: Column.model_validate(column) for name, column in json.loads(columns)["columns"].items()}
    fields = {name: Field(None, _checks(declared[name], dtype), nullable=True) for name, dtype in wanted}
    return DataFrameSchema(fields)


def _checks(column: Column, dtype: str) -> list[Any]:
    from pandera.pandas import Check

    checks = [Check(lambda values: ~np.isinf(values), error="finite")] if dtype == "float" else []
    if dtype in ("float", "int"):
        checks += [Check.ge(column.ge, error=f">= {column.ge:g}")] if column.ge is not None else []
        checks += [Check.le(column.le, error=f"<= {column.le:g}")] if column.le is not None else []
    if column.isin is not None:
        allowed = [category_name(value) for value in column.isin] if dtype == "category" else list(column.isin)
        checks.append(Check.isin(allowed, error=f"one of {', '.join(map(str, allowed))}"))
    return checks
