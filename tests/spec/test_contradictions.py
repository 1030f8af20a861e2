"""A `defs.yaml` that cannot hold does not load, and the message names the field and what was expected."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from mlops_assets.errors import SpecError
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.imports import require_importable
from mlops_assets.spec.scaffold import example_yaml

Change = Callable[[dict[str, Any]], None]


def at(path: str, value: Any) -> Change:
    """Put a value at a dotted place."""

    def change(attributes: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        part = attributes
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value

    return change


def without(path: str) -> Change:
    def change(attributes: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        part = attributes
        for parent in parents:
            part = part[parent]
        del part[last]

    return change


def policy(**fields: Any) -> Change:
    return at("retraining.when", fields)


def valid() -> dict[str, Any]:
    attributes: dict[str, Any] = deepcopy(yaml.safe_load(example_yaml("small"))["attributes"])
    return attributes


CLASSES = {"dtype": "category", "isin": ["a", "b"]}
WRONG: list[tuple[str, list[Change], str, str]] = [
    # what is wrong; how; the field that the error stands at; a part of its message
    ("an unknown field", [at("data.colour", "red")], "data.colour", "Extra inputs"),
    (
        "an unknown field of a policy",
        [policy(type="age", max="9d", min="1d")],
        "retraining.when.age.min",
        "Extra inputs",
    ),
    ("a name with capitals", [at("name", "Small")], "name", "pattern"),
    ("a length without unit", [at("data.every", 60)], "data.every", "write a number and a unit"),
    ("a date with a zone", [at("data.start", "2024-01-01T00:00:00Z")], "data.start", "local in data.time_zone"),
    ("no such zone", [at("data.time_zone", "Mars/Base")], "data.time_zone", "IANA name"),
    ("a target that is not declared", [at("problem.target", "sales")], "problem.target", "not under data.columns"),
    ("a history of an undeclared column", [at("features.history.columns", ["x"])], "features.history.columns", "'x'"),
    (
        "a history of a category",
        [at("data.columns.sky", CLASSES), at("features.history.columns", ["sky"])],
        "features.history.columns",
        "only numbers",
    ),
    ("a known column that is not declared", [at("features.known", ["x"])], "features.known", "'x'"),
    ("a target that counts as known", [at("features.known", ["value"])], "features.known", "never known"),
    ("nothing to see", [at("features.known", []), without("features.history")], "features", "would see nothing"),
    ("a nullable target", [at("data.columns.value.nullable", True)], "data.columns.value", "must not be nullable"),
    ("a category for regression", [at("data.columns.value", CLASSES)], "data.columns.value", "must be a number"),
    (
        "classification without classes",
        [at("problem.task", "classification"), at("problem.metric", "accuracy")],
        "data.columns.value.isin",
        "list the classes",
    ),
    (
        "a bound above the other",
        [at("data.columns.hour", {"dtype": "int", "ge": 2, "le": 1})],
        "data.columns.hour",
        "no value",
    ),
    ("bounds for a category", [at("data.columns.hour", {**CLASSES, "ge": 1})], "data.columns.hour", "for numbers"),
    ("a column declared and dropped", [at("data.drop", ["hour"])], "data", "both declared and dropped"),
    ("the time as a column", [at("data.time", "hour")], "data", "time or entity column"),
    ("a metric of the other task", [at("problem.metric", "accuracy")], "problem", "does not fit task"),
    ("a majority of numbers", [at("problem.baseline", {"type": "majority"})], "problem", "for classification"),
    ("a step without walk_forward", [at("problem.validation.step", "1d")], "problem.validation", "only with it"),
    (
        "a step longer than the hold-out",
        [at("problem.validation", {"strategy": "walk_forward", "holdout": "14d", "step": "15d"})],
        "problem.validation",
        "longer than the hold-out",
    ),
    ("a grid that does not divide a day", [at("data.every", "7h")], "data", "must divide a day"),
    ("an end before the start", [at("data.end", "2023-01-01")], "data", "must come after start"),
    (
        "months from the 31st on",
        [at("data.window", "month"), at("data.start", "2024-01-31"), at("retraining.cooldown", "90d")],
        "data",
        "day 1 to 28",
    ),
    (
        "a season too short for what is known",
        [at("problem.baseline.season", "24h")],
        "problem.baseline.season",
        "not known yet",
    ),
    (
        "a season that labels come too late for",
        [at("labels.delay", "10d"), at("retraining.cooldown", "90d")],
        "problem.baseline.season",
        "labels.delay",
    ),
    ("a season off the grid", [at("problem.baseline.season", "2013min")], "problem.baseline.season", "multiple"),
    ("scoring more seldom than the horizon", [at("serving.every", "25h")], "serving.every", "longer than data.horizon"),
    ("scoring all the time", [at("serving.every", "0h")], "serving.every", "longer than nothing"),
    ("a history off the grid", [at("features.history.length", "90min")], "features.history.length", "multiple"),
    ("a history of one step", [at("features.history.length", "1h")], "features.history.length", "two steps"),
    (
        "a replay from the beginning",
        [at("clock", {"type": "replay", "start": "2024-01-01"})],
        "clock.start",
        "must come after data.start",
    ),
    (
        "a replay after the end",
        [at("clock", {"type": "replay", "start": "2025-01-01"}), at("data.end", "2024-06-01")],
        "clock.start",
        "must not come after data.end",
    ),
    (
        "a training window as short as the hold-out",
        [at("data.training_window", "28d")],
        "data.training_window",
        "twice",
    ),
    (
        "a cooldown too short to judge after",
        [at("retraining.cooldown", "21d")],
        "retraining.cooldown",
        "at least hold-out",
    ),
    ("more rows than a hold-out has", [at("promotion.min_rows", 337)], "promotion.min_rows", "ever be promoted"),
    ("two thresholds", [policy(type="performance", ratio=1.3, worse_by=1)], "retraining.when.performance", "either"),
    ("no threshold", [policy(type="performance")], "retraining.when.performance", "either ratio or worse_by"),
    (
        "a ratio that is always reached",
        [policy(type="performance", ratio=1.0)],
        "retraining.when.performance.ratio",
        "than 1",
    ),
    (
        "a drift without statistic",
        [policy(type="drift", signal="prediction", threshold=1)],
        "retraining.when.drift",
        "given",
    ),
    (
        "a data drift with statistic",
        [policy(type="drift", signal="data", statistic="psi", threshold=1)],
        "retraining.when.drift",
        "given with signal prediction",
    ),
    ("a policy of nothing", [policy(type="any", of=[])], "retraining.when.any.of", "at least 1"),
    ("a policy that does not exist", [policy(type="oracle")], "retraining.when", "oracle"),
]


@pytest.mark.parametrize(("changes", "place", "says"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_is_refused_at_its_field(changes: list[Change], place: str, says: str) -> None:
    attributes = valid()
    for change in changes:
        change(attributes)
    with pytest.raises(ValidationError) as caught:
        ProjectSpec.model_validate(attributes)
    found = {".".join(str(part) for part in error["loc"]): error["msg"] for error in caught.value.errors()}
    assert [message for where, message in found.items() if where.startswith(place) and says in message], found


def test_the_scaffolded_project_is_valid() -> None:
    assert ProjectSpec.model_validate(valid()).name == "small"


def test_a_cooldown_that_is_just_long_enough_is_taken() -> None:
    attributes = valid()
    at("retraining.cooldown", "529h")(attributes)  # 14 d + 24 h + 1 h + 7 d
    ProjectSpec.model_validate(attributes)


def test_all_contradictions_are_told_at_once() -> None:
    attributes = valid()
    for change in (at("problem.baseline.season", "24h"), at("serving.every", "25h")):
        change(attributes)
    with pytest.raises(ValidationError) as caught:
        ProjectSpec.model_validate(attributes)
    assert {error["loc"] for error in caught.value.errors()} == {
        ("problem", "baseline", "season"),
        ("serving", "every"),
    }


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere.at_all.read", "cannot be imported"),
        ("mlops_assets.timeline.read", "cannot be imported"),
        ("mlops_assets.timeline.DAY", "not a function"),
    ],
)
def test_a_function_that_is_not_there_is_named_with_its_line(source: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(example_yaml("small").replace("mlops_assets.projects.small.source.read", source))
    spec = ProjectSpec.model_validate(yaml.safe_load(file.read_text())["attributes"])
    line = next(number for number, text in enumerate(file.read_text().splitlines(), start=1) if source in text)
    with pytest.raises(SpecError, match=says) as caught:
        require_importable(spec, file)
    assert caught.value.place == f"{file}:{line} (data.source)"
