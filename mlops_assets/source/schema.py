"""Validates rows against a project's `data.columns` with pandera: types, missing values, ranges and categories.

Every function takes the columns to validate: the row of an event to predict has fewer columns than a published row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.prediction.fields import category_name
from mlops_assets.prediction.schema import ENTITY, EVENT_TIME
from mlops_assets.source.casting import cast_with_gaps, declared_type
from mlops_assets.spec import ProjectSpec

SHOWN = 50
"""How many failing values an audit shows. It counts all of them."""
FAULTS = ["row", EVENT_TIME, ENTITY, "column", "value", "check"]


@dataclass(frozen=True)
class Audit:
    """Whether rows are as declared, and where they are not.

    Attributes:
        passed: whether every value is as declared.
        rows: how many rows were looked at.
        failures: the first failing values: row (position), event_time, entity, column, value (as text), check.
        counts: how many values fail, per `<column>: <check>`, over all rows.
    """

    passed: bool
    rows: int
    failures: pd.DataFrame
    counts: dict[str, int]

    @property
    def reasons(self) -> list[str]:
        """One sentence per failed check, with the first failing row."""
        first = self.failures.drop_duplicates(["column", "check"])
        return [
            f"{row['column']} must be {row['check']}: {self.counts[_kind(row['column'], row['check'])]} of {self.rows} "
            f"rows are not, the first at {row[EVENT_TIME].isoformat()} with {row['value']}"
            for row in first.to_dict("records")
        ]


def audit(frame: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]) -> Audit:
    """Validate all values of some columns, and report all failures at once.

    Args:
        frame: rows with `event_time`, `entity` where the project has one, and the columns.
        spec: the project, whose `data.columns` say what is allowed.
        columns: those to look at; with the target among them a missing target fails.
    """
    found = faults(frame, spec, columns)
    kinds = pd.Series(map(_kind, found["column"], found["check"]), dtype=object).value_counts(sort=False)
    # at least the first failing value of each check is shown
    order = found.groupby(["column", "check"], sort=False).cumcount().sort_values(kind="stable").index
    shown = found.loc[order[:SHOWN]].sort_index().reset_index(drop=True)
    return Audit(found.empty, len(frame), shown, {str(kind): int(count) for kind, count in kinds.items()})


def faults(frame: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]) -> pd.DataFrame:
    """Return all failing values of some columns.

    Returns:
        One row per value and failed check, by row and column: `row` (position in the frame), `event_time`, `entity`
        (None without one), `column`, `value` (as text), `check`.
    """
    from mlops_assets.source.pandera_schema import failing_cells, schemas

    frame = frame.reset_index(drop=True)
    typed, _ = cast_with_gaps(frame, spec, columns)
    declared = spec.data.model_dump_json(include={"columns"})
    types, values = schemas(declared, tuple((name, declared_type(spec, name)) for name in columns))
    cells = failing_cells(types, frame)
    # a value of another type is missing in the cast rows, and would be reported a second time
    known = {(row, name) for row, name, _ in cells}
    cells += [cell for cell in failing_cells(values, typed) if cell[:2] not in known]
    if not cells:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in FAULTS})
    result = pd.DataFrame(cells, columns=["row", "column", "check"])
    result[EVENT_TIME] = frame[EVENT_TIME].iloc[result["row"]].to_numpy()
    result[EVENT_TIME] = pd.to_datetime(result[EVENT_TIME], utc=True)
    result[ENTITY] = frame[ENTITY].iloc[result["row"]].to_numpy() if ENTITY in frame else None
    result["value"] = [_text(frame[name].iloc[row]) for row, name in zip(result["row"], result["column"], strict=True)]
    return result.sort_values(["row", "column"], kind="stable")[FAULTS].reset_index(drop=True)


def null_faults(frame: pd.DataFrame, spec: ProjectSpec, columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows in their declared types, with every failing value missing."""
    found = faults(frame, spec, columns)
    typed, _ = cast_with_gaps(frame.reset_index(drop=True), spec, columns)
    for name, rows in found.groupby("column")["row"]:
        bad = np.isin(np.arange(len(typed)), rows.to_numpy(dtype=np.int64))
        blank = None if typed[name].dtype == object else pd.NA
        column = typed[name] if typed[name].dtype != np.int64 else typed[name].astype("Int64")
        column = column.astype("boolean") if column.dtype == bool else column
        typed[name] = column.mask(bad, np.nan if column.dtype == np.float64 else blank)
    return typed


def _kind(column: str, check: str) -> str:
    return f"{column}: {check}"


def _text(value: Any) -> str:
    if category_name(value) is None:
        return "nothing"
    return f"{value!r:.80}" if isinstance(value, str) else f"{value!s:.80}"
