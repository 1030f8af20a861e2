from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hourly import COLUMNS, hourly, small_spec

from mlops_assets.source.casting import cast
from mlops_assets.source.pandera_schema import IN_WORDS
from mlops_assets.source.schema import audit, null_faults

START, END = datetime(2011, 3, 1, tzinfo=UTC), datetime(2011, 3, 8, tzinfo=UTC)
ALL = ["x", "day", "y"]


def frame(**columns: Any) -> pd.DataFrame:
    return hourly(START, END, **columns).rename(columns={"when": "event_time"})[["event_time", *ALL]]


def with_values(column: str, *values: Any) -> pd.DataFrame:
    rows = frame().astype({column: object})
    rows[column] = [*values, *rows[column].tolist()[len(values) :]]
    return rows


def test_valid_rows_pass() -> None:
    found = audit(frame(), small_spec(), ALL)
    assert (found.passed, found.rows, found.counts, found.reasons) == (True, 168, {}, [])


def test_all_failures_are_reported_with_row_time_value_and_check() -> None:
    rows = frame()
    rows.loc[3, "x"], rows.loc[5, "day"], rows.loc[7, "y"] = 101.0, 9, np.nan
    found = audit(rows, small_spec(), ALL)
    assert not found.passed
    cells = found.failures[["row", "column", "value", "check"]].to_numpy().tolist()
    assert cells == [[3, "x", "101.0", "<= 100"], [5, "day", "9", "<= 6"], [7, "y", "nothing", "present"]]
    assert found.failures["event_time"].tolist() == rows["event_time"].take([3, 5, 7]).tolist()
    assert (
        found.reasons[0] == "x must be <= 100: 1 of 168 rows are not, the first at 2011-03-01T03:00:00+00:00 with 101.0"
    )


def test_missing_target_fails_only_where_the_target_is_validated() -> None:
    rows = frame(y=np.nan)
    assert audit(rows, small_spec(), ["x", "day"]).passed
    assert audit(rows, small_spec(), ["y"]).counts == {"y: present": 168}


def test_fifty_failures_are_shown_and_all_are_counted() -> None:
    rows = frame(x=-1.0)
    rows.loc[167, "day"] = 8
    found = audit(rows, small_spec(), ALL)
    assert (len(found.failures), found.counts) == (50, {"x: >= 0": 168, "day: <= 6": 1})
    assert "day" in set(found.failures["column"])


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("float", "1.5"), ("float", [1]), ("int", 1.5), ("int", "1"), ("int", np.inf), ("bool", 2), ("bool", "yes")],
)
def test_value_of_another_type_is_a_failure(dtype: str, value: Any) -> None:
    spec = small_spec(data={"columns": COLUMNS | {"x": {"dtype": dtype}}})
    rows = with_values("x", value, *[1] * 167)
    typed = cast(rows, spec, ALL)
    assert typed["x"].iloc[0] == value
    assert audit(typed, spec, ALL).counts == {f"x: {IN_WORDS[dtype]}": 1}


@pytest.mark.parametrize(
    ("dtype", "nullable", "given", "becomes"),
    [
        ("float", False, [1, 2], "float64"),
        ("int", False, [1.0, 2.0], "int64"),
        ("int", True, [1, 2], "Int64"),
        ("int", False, [1, None], "Int64"),
        ("bool", False, [0, 1], "bool"),
        ("bool", False, [True, None], "boolean"),
        ("category", False, [1, "a"], "object"),
    ],
)
def test_values_get_their_declared_type(dtype: str, nullable: bool, given: list[Any], becomes: str) -> None:
    spec = small_spec(data={"columns": COLUMNS | {"x": {"dtype": dtype, "nullable": nullable}}})
    rows = pd.DataFrame({"x": pd.Series(given, dtype=object)})
    typed = cast(rows, spec, ["x"])
    assert str(typed["x"].dtype) == becomes
    assert cast(typed, spec, ["x"]).equals(typed)


def test_infinity_and_unknown_category_fail_and_nullable_passes() -> None:
    columns = COLUMNS | {"x": {"dtype": "float", "nullable": True}, "day": {"dtype": "category", "isin": ["a", "b"]}}
    spec = small_spec(data={"columns": columns})
    rows = frame(day="a")
    rows.loc[0, "x"], rows.loc[1, "x"], rows.loc[2, "day"] = np.nan, -np.inf, "c"
    assert audit(rows, spec, ALL).counts == {"x: finite": 1, "day: one of a, b": 1}


def test_classes_are_checked_for_numeric_targets() -> None:
    spec = small_spec(
        problem={"task": "classification", "metric": "accuracy"},
        data={"columns": COLUMNS | {"y": {"dtype": "int", "isin": [0, 1]}}},
    )
    rows = cast(frame(y=[0, 1, 2, 3] * 42), spec, ["y"])
    assert audit(rows, spec, ["y"]).counts == {"y: one of 0, 1": 84}


def test_bad_values_become_missing_and_others_stay() -> None:
    rows = with_values("day", 9, "Monday", 3)
    clean = null_faults(rows, small_spec(), ALL)
    assert clean["day"].isna().tolist()[:3] == [True, True, False]
    assert clean["day"].iloc[2] == 3
    assert clean[["x", "y"]].equals(frame()[["x", "y"]])
