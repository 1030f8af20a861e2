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


def test_a_window_ends_at_the_newest_value_whose_hour_was_over_when_the_answer_was_due() -> None:
    frame = rows(200)
    inputs = cut(project(), frame.iloc[[100]], frame)
    # due 24 h before hour 100; the value stamped 76 covers [76, 77) and is not known yet
    assert inputs.history["cnt"][0].tolist() == list(range(52, 76))


def test_a_value_stamped_at_its_end_is_known_at_its_stamp() -> None:
    spec = project()
    spec = project(data={**spec.data.model_dump(mode="json", exclude_none=True), "stamp": "end"})
    frame = rows(200)
    assert cut(spec, frame.iloc[[100]], frame).history["cnt"][0, -1] == 76


def test_a_late_label_is_not_in_the_target_s_history_and_other_columns_are() -> None:
    spec = project(
        labels={"delay": "24h"},
        features={"known": ["hour"], "history": {"columns": ["cnt", "hum"], "length": "24h"}},
    )
    frame = rows(200).assign(hum=np.arange(200.0))
    history = cut(spec, frame.iloc[[100]], frame).history
    assert (history["cnt"][0, -1], history["hum"][0, -1]) == (51, 75)


def test_changing_what_is_not_known_yet_changes_no_input() -> None:
    frame = rows(400)
    events = frame.iloc[[150, 200]].reset_index(drop=True)
    planted = frame.copy()
    planted.loc[176:, "cnt"] = -1
    planted.loc[planted["event_time"] > events["event_time"].max(), "temp"] = -1
    assert same(cut(project(), events, frame), cut(project(), events, planted))
    planted.loc[175, "cnt"] = -1
    assert not same(cut(project(), events, frame), cut(project(), events, planted))


def test_a_value_between_two_grid_points_is_never_taken_before_it_is_known() -> None:
    frame = rows(200)
    moved = frame.assign(
        event_time=frame["event_time"].where(frame.index != 75, frame["event_time"] + pd.Timedelta("30min"))
    )
    history = cut(project(), frame.iloc[[100]], moved).history["cnt"][0]
    assert np.isnan(history[-1]) and history[-2] == 74


def test_gaps_and_the_time_before_the_history_are_missing() -> None:
    frame = rows(200)
    history = cut(project(), frame.iloc[[30, 100]], frame.drop(index=[60, 61])).history["cnt"]
    assert np.isnan(history[0]).tolist() == [True] * 18 + [False] * 6
    assert np.flatnonzero(np.isnan(history[1])).tolist() == [8, 9]


def test_history_never_crosses_entities() -> None:
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


def test_a_class_is_its_index_in_the_history_and_a_foreign_one_is_refused() -> None:
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


def test_a_level_is_the_same_however_it_is_written() -> None:
    assert {category_name(value) for value in (3, 3.0, "3", np.int64(3), np.float64(3))} == {"3"}
    assert {category_name(value) for value in (None, np.nan, pd.NA, pd.NaT)} == {None}


def test_a_column_that_is_absent_is_named() -> None:
    frame = rows(100)
    with pytest.raises(InputError, match="series: cnt"):
        cut(project(), frame, frame.drop(columns="cnt"))


def test_two_years_of_hours_are_cut_within_a_second() -> None:
    frame = rows(17_520)
    start = time.perf_counter()
    cut(project(), frame, frame)
    assert time.perf_counter() - start < 1


def test_what_is_sent_arrives_to_the_bit() -> None:
    frame = rows(300)
    frame["cnt"] = np.random.default_rng(0).random(300)
    schema = InputSchema.of(project())
    inputs = cut(project(), frame, frame)
    received = from_records(json.loads(json.dumps(to_records(inputs, schema), allow_nan=False)), schema)
    assert same(inputs, received)
    assert same(inputs, Inputs.concat([inputs.take(np.arange(100)), inputs.take(np.arange(300) >= 100)]))


def test_numpy_arrays_are_taken_too_and_their_nan_is_missing() -> None:
    schema = InputSchema.of(project())
    record = valid_record() | {"cnt": np.array([np.nan, *range(23)])}
    assert np.isnan(from_records([record], schema).history["cnt"][0, 0])
    whole = from_records([record | {"cnt": np.arange(24)}], schema)
    assert same(whole, from_records([record | {"cnt": list(range(24))}], schema))


def test_a_column_that_is_known_and_has_a_history_is_sent_as_two_fields() -> None:
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
def test_a_bad_value_is_refused_by_the_name_of_its_field_and_row(field: str, value: Any, found: str) -> None:
    schema, good = InputSchema.of(project()), valid_record()
    with pytest.raises(InputError, match=found) as caught:
        from_records([good, good | {field: value}], schema)
    assert caught.value.place == field
    assert caught.value.row == 1


def test_a_row_must_hold_exactly_the_fields_of_the_schema() -> None:
    schema, good = InputSchema.of(project()), valid_record()
    with pytest.raises(InputError, match="'hum' is missing") as caught:
        from_records([{name: value for name, value in good.items() if name != "hum"}], schema)
    assert (caught.value.place, caught.value.row) == ("hum", 0)
    with pytest.raises(InputError, match="'casual' is not an input"):
        from_records([good | {"casual": 3}], schema)


def test_null_is_taken_where_a_column_may_be_null() -> None:
    inputs = from_records([valid_record() | {"hum": None, "sky": None}], InputSchema.of(project()))
    assert np.isnan(inputs.known["hum"][0]) and inputs.known["sky"][0] is None


def test_an_entity_must_be_named() -> None:
    schema = InputSchema.of(project()).model_copy(update={"entity": True})
    assert from_records([valid_record() | {"entity": "north"}], schema).entity == ["north"]
    for value in ("", None, 1.5):
        with pytest.raises(InputError) as caught:
            from_records([valid_record() | {"entity": value}], schema)
        assert caught.value.place == "entity"


def with_columns(**columns: Any) -> Any:
    """The project with some columns declared otherwise, or (None) no longer."""
    data = project().data.model_dump(mode="json", exclude_none=True)
    declared = {name: column for name, column in (data["columns"] | columns).items() if column is not None}
    features = project().features.model_dump(mode="json", exclude_none=True)
    features["known"] = [name for name in features["known"] if name in declared]
    return project(data=data | {"columns": declared}, features=features)


@pytest.mark.parametrize(
    ("columns", "lost"),
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
def test_a_version_is_out_of_reach_where_a_column_of_it_is_gone_or_of_another_type(
    columns: dict[str, Any], lost: list[str]
) -> None:
    assert InputSchema.of(project()).undeclared_inputs(with_columns(**columns)) == lost


def test_two_schemas_ask_alike_whatever_series_they_have_seen() -> None:
    schema = InputSchema.of(project())
    assert schema.accepts_requests_of(schema.model_copy(update={"entities": ["a"]}))
    assert not schema.accepts_requests_of(schema.model_copy(update={"steps": 48}))
    assert not schema.accepts_requests_of(InputSchema.of(with_columns(temp={"dtype": "float", "nullable": True})))


def test_a_class_that_a_version_has_never_heard_of_is_missing_in_the_past_that_it_is_told() -> None:
    schema = InputSchema.of(project()).model_copy(
        update={"task": "classification", "classes": ["up", "down"], "target": "cnt"}
    )
    frame = rows(200).assign(cnt=["up", "down", "sideways", "up"] * 50)
    told = cut_inputs(Timeline(project()), schema, frame.iloc[[100]], without_unknown_classes(schema, frame)).history[
        "cnt"
    ][0]
    assert np.isnan(told).sum() == len(told) / 4
    assert set(told[~np.isnan(told)]) == {0.0, 1.0}
