"""Inputs of a prediction: how they are cut from published rows, sent as a request, and read back."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_project import project, rows

from mlops_assets.errors import InputError
from mlops_assets.prediction.fields import category_name
from mlops_assets.prediction.inputs import Inputs, cut_inputs, from_records, to_records, without_unknown_classes
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.timeline import Timeline


def cut(spec: Any, events: pd.DataFrame, series: pd.DataFrame) -> Inputs:
    return cut_inputs(Timeline(spec), InputSchema.of(spec), events, series)


def same(one: Inputs, other: Inputs) -> bool:
    return (
        (one.event_time == other.event_time).all()
        and one.entity == other.entity
        and all(
            one.known[name].tobytes() == other.known[name].tobytes()
            if one.known[name].dtype != object
            else list(one.known[name]) == list(other.known[name])
            for name in one.known
        )
        and all(one.history[name].tobytes() == other.history[name].tobytes() for name in one.history)
    )


def test_feature_window_ends_at_the_newest_value_known_when_due() -> None:
    frame = rows(200)
    inputs = cut(project(), frame.iloc[[100]], frame)
    # due 24 h before hour 100; the value stamped 76 covers [76, 77) and is not known yet
    assert inputs.history["cnt"][0].tolist() == list(range(52, 76))


def test_value_stamped_at_its_end_is_known_at_its_timestamp() -> None:
    spec = project()
    spec = project(data={**spec.data.model_dump(mode="json", exclude_none=True), "stamp": "end"})
    frame = rows(200)
    assert cut(spec, frame.iloc[[100]], frame).history["cnt"][0, -1] == 76


def test_past_labels_are_limited_by_the_label_delay_and_other_columns_are_not() -> None:
    spec = project(
        labels={"delay": "24h"},
        features={"known": ["hour"], "history": {"columns": ["cnt", "hum"], "length": "24h"}},
    )
    frame = rows(200).assign(hum=np.arange(200.0))
    history = cut(spec, frame.iloc[[100]], frame).history
    assert (history["cnt"][0, -1], history["hum"][0, -1]) == (51, 75)


def test_values_not_known_yet_change_no_input() -> None:
    frame = rows(400)
    events = frame.iloc[[150, 200]].reset_index(drop=True)
    planted = frame.copy()
    planted.loc[176:, "cnt"] = -1
    planted.loc[planted["event_time"] > events["event_time"].max(), "temp"] = -1
    assert same(cut(project(), events, frame), cut(project(), events, planted))
    planted.loc[175, "cnt"] = -1
    assert not same(cut(project(), events, frame), cut(project(), events, planted))


def test_value_between_two_grid_points_is_not_used_before_it_is_known() -> None:
    frame = rows(200)
    moved = frame.assign(
        event_time=frame["event_time"].where(frame.index != 75, frame["event_time"] + pd.Timedelta("30min"))
    )
    history = cut(project(), frame.iloc[[100]], moved).history["cnt"][0]
    assert np.isnan(history[-1]) and history[-2] == 74


def test_gaps_and_the_time_before_the_first_row_are_missing() -> None:
    frame = rows(200)
    history = cut(project(), frame.iloc[[30, 100]], frame.drop(index=[60, 61])).history["cnt"]
    assert np.isnan(history[0]).tolist() == [True] * 18 + [False] * 6
    assert np.flatnonzero(np.isnan(history[1])).tolist() == [8, 9]


def test_past_values_are_of_the_same_entity() -> None:
    spec = project()
    spec = project(data={**spec.data.model_dump(mode="json", exclude_none=True), "entity": "dock"})
    north, south = rows(200).assign(dock="north"), rows(200).assign(dock="south", cnt=np.arange(200) + 1000)
    series = pd.concat([north, south]).rename(columns={"dock": "entity"}).sort_values(["event_time", "entity"])
    events = series[series["event_time"] == series["event_time"].iloc[200]]
    events = pd.concat([events, events.iloc[[0]].assign(entity="nowhere")])
    inputs = cut(spec, events, series)
    assert inputs.entity == ["north", "south", "nowhere"]
    assert inputs.history["cnt"][:, -1].tolist()[:2] == [75, 1075]
    assert np.isnan(inputs.history["cnt"][2]).all()


def test_past_class_is_its_index_and_an_unknown_class_is_refused() -> None:
    spec = project(
        problem={
            **project().problem.model_dump(mode="json", exclude_none=True),
            "task": "classification",
            "target": "move",
            "metric": "accuracy",
        },
        data={
            **project().data.model_dump(mode="json", exclude_none=True),
            "columns": {"move": {"dtype": "category", "isin": ["UP", "DOWN"]}},
        },
        features={"history": {"columns": ["move"], "length": "3h"}},
    )
    frame = rows(100).assign(move=["UP", "DOWN"] * 50)
    frame.loc[74, "move"] = None
    assert np.array_equal(cut(spec, frame.iloc[[99]], frame).history["move"], [[0.0, 1.0, np.nan]], equal_nan=True)
    with pytest.raises(InputError, match="SIDEWAYS"):
        cut(spec, frame.iloc[[99]], frame.assign(move="SIDEWAYS"))


def test_category_name_does_not_depend_on_the_type_of_a_value() -> None:
    assert {category_name(value) for value in (3, 3.0, "3", np.int64(3), np.float64(3))} == {"3"}
    assert {category_name(value) for value in (None, np.nan, pd.NA, pd.NaT)} == {None}


def test_absent_column_is_named() -> None:
    frame = rows(100)
    with pytest.raises(InputError, match="series: cnt"):
        cut(project(), frame, frame.drop(columns="cnt"))


def test_inputs_of_two_years_of_hours_are_cut_within_a_second() -> None:
    frame = rows(17_520)
    start = time.perf_counter()
    cut(project(), frame, frame)
    assert time.perf_counter() - start < 1


def test_inputs_survive_a_request_bit_by_bit() -> None:
    frame = rows(300)
    frame["cnt"] = np.random.default_rng(0).random(300)
    schema = InputSchema.of(project())
    inputs = cut(project(), frame, frame)
    received = from_records(json.loads(json.dumps(to_records(inputs, schema), allow_nan=False)), schema)
    assert same(inputs, received)
    assert same(inputs, Inputs.concat([inputs.take(np.arange(100)), inputs.take(np.arange(300) >= 100)]))


def test_numpy_arrays_are_accepted_and_their_nan_is_missing() -> None:
    schema = InputSchema.of(project())
    record = valid_record() | {"cnt": np.array([np.nan, *range(23)])}
    assert np.isnan(from_records([record], schema).history["cnt"][0, 0])
    whole = from_records([record | {"cnt": np.arange(24)}], schema)
    assert same(whole, from_records([record | {"cnt": list(range(24))}], schema))


def test_known_column_with_past_values_is_sent_as_two_fields() -> None:
    spec = project(features={"known": ["temp"], "history": {"columns": ["temp"], "length": "2h"}})
    frame = rows(100)
    schema = InputSchema.of(spec)
    assert schema.fields == ["event_time", "temp", "temp_history"]
    inputs = cut(spec, frame.iloc[[50]], frame)
    assert same(inputs, from_records(to_records(inputs, schema), schema))


def valid_record() -> dict[str, Any]:
    frame = rows(100)
    spec = project()
    return to_records(cut(spec, frame.iloc[[60]], frame), InputSchema.of(spec))[0] | {"hum": 0.5}


BAD: list[tuple[str, Any, str]] = [
    ("temp", "0.5", "a number is required"),
    ("temp", True, "a number is required"),
    ("temp", None, "null"),
    ("temp", float("nan"), "a finite number"),
    ("temp", float("inf"), "a finite number"),
    ("temp", 10**400, "a finite number"),
    ("temp", [1.0], "a number is required"),
    ("hour", 1.5, "an integer is required"),
    ("holiday", 2, "true or false is required"),
    ("sky", 1.5, "a string is required"),
    ("sky", {}, "a string is required"),
    ("event_time", "2011-01-03T12:00:00", "no zone"),
    ("event_time", "tomorrow", "is not a valid timestamp"),
    ("event_time", 1294056000, "a string is required"),
    ("event_time", None, "a string is required"),
    ("event_time", "0001-01-01T00:00:00+14:00", "is not a valid timestamp"),
    ("cnt", [1.0] * 23, "24 values are required, not 23"),
    ("cnt", [], "24 values are required, not 0"),
    ("cnt", None, "an array is required"),
    ("cnt", 5, "an array is required"),
    ("cnt", "123456789012345678901234", "an array is required"),
    ("cnt", [[1.0]] * 24, "not a number"),
    ("cnt", ["1"] * 24, "not a number"),
    ("cnt", [True] * 24, "not a number"),
    ("cnt", [1.0] * 23 + [float("nan")], "value 23 is nan"),
    ("cnt", [None] * 23 + [float("-inf")], "value 23 is -inf"),
    ("cnt", [1.0] * 23 + [10**400], "too large"),
    ("cnt", np.array([1.0] * 23 + [np.inf]), "value 23 is"),
    ("cnt", np.ones((24, 1)), "an array is required"),
]


@pytest.mark.parametrize(
    ("field", "value", "found"), BAD, ids=[f"{field}-{number}" for number, (field, *_) in enumerate(BAD)]
)
def test_bad_value_is_refused_with_its_field_and_row(field: str, value: Any, found: str) -> None:
    schema, good = InputSchema.of(project()), valid_record()
    with pytest.raises(InputError, match=found) as caught:
        from_records([good, good | {field: value}], schema)
    assert caught.value.place == field
    assert caught.value.row == 1


def test_row_must_have_exactly_the_fields_of_the_schema() -> None:
    schema, good = InputSchema.of(project()), valid_record()
    with pytest.raises(InputError, match="'hum' is missing") as caught:
        from_records([{name: value for name, value in good.items() if name != "hum"}], schema)
    assert (caught.value.place, caught.value.row) == ("hum", 0)
    with pytest.raises(InputError, match="'casual' is not an input"):
        from_records([good | {"casual": 3}], schema)


def test_null_is_accepted_in_nullable_columns() -> None:
    inputs = from_records([valid_record() | {"hum": None, "sky": None}], InputSchema.of(project()))
    assert np.isnan(inputs.known["hum"][0]) and inputs.known["sky"][0] is None


def test_row_of_a_project_with_entities_must_name_its_entity() -> None:
    schema = InputSchema.of(project()).model_copy(update={"entity": True})
    assert from_records([valid_record() | {"entity": "north"}], schema).entity == ["north"]
    for value in ("", None, 1.5):
        with pytest.raises(InputError) as caught:
            from_records([valid_record() | {"entity": value}], schema)
        assert caught.value.place == "entity"


def with_columns(**columns: Any) -> Any:
    """Return the project with some columns declared differently, or not at all (None)."""
    data = project().data.model_dump(mode="json", exclude_none=True)
    declared = {name: column for name, column in (data["columns"] | columns).items() if column is not None}
    features = project().features.model_dump(mode="json", exclude_none=True)
    features["known"] = [name for name in features["known"] if name in declared]
    return project(data=data | {"columns": declared}, features=features)


@pytest.mark.parametrize(
    ("columns", "undeclared"),
    [
        ({}, []),
        ({"wind": {"dtype": "float"}}, []),
        ({"temp": {"dtype": "float", "nullable": True}}, []),
        ({"temp": {"dtype": "int"}}, []),
        ({"hour": {"dtype": "float"}}, ["hour"]),
        ({"temp": {"dtype": "category"}}, ["temp"]),
        ({"sky": None, "temp": None}, ["temp", "sky"]),
    ],
)
def test_removed_columns_and_columns_of_another_type_are_undeclared_inputs(
    columns: dict[str, Any], undeclared: list[str]
) -> None:
    assert InputSchema.of(project()).undeclared_inputs(with_columns(**columns)) == undeclared


def test_schemas_of_different_entities_accept_the_same_requests() -> None:
    schema = InputSchema.of(project())
    assert schema.accepts_requests_of(schema.model_copy(update={"entities": ["a"]}))
    assert not schema.accepts_requests_of(schema.model_copy(update={"steps": 48}))
    assert not schema.accepts_requests_of(InputSchema.of(with_columns(temp={"dtype": "float", "nullable": True})))


def test_class_unknown_to_a_version_is_missing_in_its_past_values() -> None:
    schema = InputSchema.of(project()).model_copy(
        update={"task": "classification", "classes": ["up", "down"], "target": "cnt"}
    )
    frame = rows(200).assign(cnt=["up", "down", "sideways", "up"] * 50)
    inputs = cut_inputs(Timeline(project()), schema, frame.iloc[[100]], without_unknown_classes(schema, frame))
    past_values = inputs.history["cnt"][0]
    assert np.isnan(past_values).sum() == len(past_values) / 4
    assert set(past_values[~np.isnan(past_values)]) == {0.0, 1.0}
