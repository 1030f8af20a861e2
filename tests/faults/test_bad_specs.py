"""Contradictions in a `defs.yaml`: each is one error, which names the fields and what was expected."""

from __future__ import annotations

import copy
import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from example_project import ATTRIBUTES
from pydantic import ValidationError

from mlops_assets.errors import SpecError
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.imports import require_importable
from mlops_assets.spec.loading import read_specs
from mlops_assets.spec.scaffold import EXAMPLE_SOURCE, example_yaml
from mlops_assets.timeline import Timeline

ROOT = Path(__file__).parents[2]
DRIFT = {"type": "drift", "signal": "prediction", "statistic": "psi", "threshold": 0.2}
Change = tuple[str, Any]


def changed(*changes: Change) -> dict[str, Any]:
    """Return the example project's attributes with changed values, by dotted path; `...` removes a field."""
    found = copy.deepcopy(ATTRIBUTES)
    for place, value in changes:
        *above, last = place.split(".")
        part = found
        for name in above:
            part = part.setdefault(name, {})
        if value is ...:
            part.pop(last)
        else:
            part[last] = value
    return found


CLASSES = {"dtype": "category", "isin": ["a", "b"]}
CLASSIFIED: list[Change] = [
    ("problem.task", "classification"),
    ("problem.metric", "accuracy"),
    ("problem.baseline", {"type": "majority"}),
    ("data.columns.level", CLASSES),
]
WRONG: dict[str, tuple[list[Change], list[str]]] = {
    "a season too short for what is known": (
        [("problem.baseline.season", "6h")],
        ["problem.baseline.season (6h)", "horizon + every + arrival_delay + labels.delay (7h)"],
    ),
    "a season too short because labels are late": (
        [("labels", {"delay": "1d"}), ("retraining.cooldown", "9d")],
        ["problem.baseline.season (1d)", "labels.delay (31h)"],
    ),
    "a season between two steps": (
        [("problem.baseline.season", "1530min")],
        ["problem.baseline.season", "must be a multiple of data.every (1h)"],
    ),
    "serving interval longer than the horizon": (
        [("serving.every", "8h")],
        ["serving.every (8h) is longer than data.horizon (6h)"],
    ),
    "serving interval of zero": ([("serving.every", "0h")], ["serving.every must be longer than 0"]),
    "a cooldown that leaves nothing unseen": (
        [("retraining.cooldown", "3d")],
        ["retraining.cooldown (3d)", "hold-out + horizon + every + arrival_delay + labels.delay + one window (79h)"],
    ),
    "a hold-out that cannot hold enough rows": (
        [("promotion.min_rows", 49)],
        ["promotion.min_rows (49)", "the hold-out of 2d holds (48 rows)"],
    ),
    "windows of too few rows to be evaluated": (
        [("monitoring.min_rows", 25)],
        ["monitoring.min_rows (25)", "a day of one series holds (24 rows of 1h)", "write at most 24"],
    ),
    "too few rows for drift": (
        [("retraining.when", DRIFT), ("monitoring.min_rows", 24), ("monitoring.current", "23h")],
        ["monitoring.current (23h) holds 23 rows of 1h", "drift needs 24", "write at least 1d"],
    ),
    "fewer rows than drift needs": (
        [("retraining.when", DRIFT), ("monitoring.min_rows", 1), ("monitoring.current", "9h")],
        ["monitoring.current (9h)", "drift needs 10", "write at least 10h"],
    ),
    "a step longer than the hold-out": (
        [("problem.validation", {"strategy": "walk_forward", "holdout": "2d", "step": "3d"})],
        ["problem.validation", "step", "must not be longer than the hold-out"],
    ),
    "a step without walking": (
        [("problem.validation", {"strategy": "last", "holdout": "2d", "step": "1d"})],
        ["problem.validation", "set `step` with the strategy walk_forward, and only with it"],
    ),
    "a training window that is all hold-out": (
        [("data.training_window", "4d")],
        ["data.training_window (4d) must be longer than twice the hold-out"],
    ),
    "a training window that the baseline's season does not fit into": (
        [("data.training_window", "5d"), ("problem.baseline.season", "96h")],
        ["data.training_window (5d)", "problem.baseline.season before it (6d)"],
    ),
    "a history that ends between two steps": (
        [("features.history.length", "90min")],
        ["features.history.length", "must be a multiple of data.every (1h)"],
    ),
    "a history of a column that is not there": (
        [("features.history.columns", ["levels"])],
        ["features.history.columns names 'levels', which is not under data.columns"],
    ),
    "a known column that is not there": (
        [("features.known", ["pressure"])],
        ["features.known names 'pressure', which is not under data.columns"],
    ),
    "a history of a category": (
        [("data.columns.sky", CLASSES), ("features.history.columns", ["sky"])],
        ["features.history.columns", "only numbers"],
    ),
    "a history of one step": ([("features.history.length", "1h")], ["features.history.length", "two steps"]),
    "a target known beforehand": (
        [("features.known", ["level"])],
        ["features.known names the target 'level'"],
    ),
    "a model that sees nothing": (
        [("features.known", []), ("features.history", None)],
        ["features names neither known nor history columns"],
    ),
    "a target without a column": ([("problem.target", "depth")], ["problem.target 'depth' is not under data.columns"]),
    "a target that may be missing": (
        [("data.columns.level.nullable", True)],
        ["data.columns.level must not be nullable"],
    ),
    "a category for regression": ([("data.columns.level", CLASSES)], ["data.columns.level", "must be a number"]),
    "bounds for a category": (
        [("data.columns.hour", {**CLASSES, "ge": 1})],
        ["data.columns.hour", "for numbers"],
    ),
    "a column by a name of the platform's": (
        [("data.columns.due", {"dtype": "float"}), ("features.known", ["hour", "due"])],
        ["data", "['due'] have names that the platform uses itself", "rename them in the source"],
    ),
    "a column by the name of a class's probability": (
        [*CLASSIFIED, ("data.columns.probability_a", {"dtype": "float"})],
        ["data.columns names ['probability_a']", "rename them"],
    ),
    "a class twice": (
        [*CLASSIFIED, ("data.columns.level", {"dtype": "category", "isin": ["1", 1.0, "b"]})],
        ["data.columns.level.isin lists the classes ['1'] more than once"],
    ),
    "f1 of three classes": (
        [
            *CLASSIFIED,
            ("problem.metric", "f1"),
            ("data.columns.level", {"dtype": "category", "isin": ["a", "b", "c"]}),
        ],
        ["problem.metric f1 is for two classes, not 3", "f1_macro"],
    ),
    "the time as a column": ([("data.time", "hour")], ["data", "time or entity column"]),
    "months from the 31st on": (
        [
            ("data.window", "month"),
            ("data.start", "2019-12-31"),
            ("retraining.cooldown", "90d"),
        ],
        ["data", "day 1 to 28"],
    ),
    "classes that are not listed": (
        [("problem.task", "classification"), ("problem.metric", "accuracy")],
        ["data.columns.level.isin must list the classes"],
    ),
    "a metric of the other task": ([("problem.metric", "accuracy")], ["problem", "metric accuracy does not fit task"]),
    "a baseline of the other task": (
        [("problem.baseline", {"type": "majority"})],
        ["baseline majority is for classification"],
    ),
    "a clock before there is data": (
        [("clock.start", "2019-12-31")],
        ["clock.start (2019-12-31 00:00:00) must come after data.start"],
    ),
    "a clock after the end": (
        [("data.end", "2020-01-10")],
        ["clock.start (2020-01-21 00:00:00) must not come after data.end"],
    ),
    "an end before the start": ([("data.end", "2019-01-01")], ["data", "must come after start"]),
    "a grid that does not divide a day": ([("data.every", "7h")], ["data", "must divide a day"]),
    "weeks in windows of a day": ([("data.every", "7d")], ["data", "every (7d) needs window: week"]),
    "no time zone": ([("data.time_zone", "Europe/Atlantis")], ["data.time_zone", "no time zone 'Europe/Atlantis'"]),
    "bounds the wrong way round": ([("data.columns.wind.ge", 2)], ["data.columns.wind", "ge (2.0) is above le (1.0)"]),
    "a column declared and dropped": (
        [("data.drop", ["wind"])],
        ["data", "['wind'] are both under columns and under drop"],
    ),
    "two thresholds": (
        [("retraining.when", {"type": "performance", "ratio": 1.3, "worse_by": 0.1})],
        ["retraining.when.performance", "set either ratio or worse_by"],
    ),
    "no threshold": (
        [("retraining.when", {"type": "performance"})],
        ["retraining.when.performance", "set either ratio or worse_by"],
    ),
    "a ratio that is always reached": (
        [("retraining.when", {"type": "performance", "ratio": 1.0})],
        ["retraining.when.performance.ratio", "than 1"],
    ),
    "a data drift with a distance": (
        [("retraining.when", {"type": "drift", "signal": "data", "statistic": "psi", "threshold": 1})],
        ["retraining.when.drift", "set `statistic` with signal prediction"],
    ),
    "a policy of nothing": ([("retraining.when", {"type": "any", "of": []})], ["retraining.when.any.of", "at least 1"]),
    "drift of predictions without a distance": (
        [("retraining.when", {"type": "drift", "signal": "prediction", "threshold": 0.2})],
        ["retraining.when.drift", "set `statistic` with signal prediction"],
    ),
    "a policy that does not exist": (
        [("retraining.when", {"type": "hope"})],
        ["retraining.when", "'performance', 'drift', 'age', 'any', 'all'"],
    ),
    "an unknown field": ([("serving.evry", "6h")], ["serving.evry", "Extra inputs are not permitted"]),
    "an unknown field deep down": (
        [("retraining.when.ratoi", 2)],
        ["retraining.when.performance.ratoi", "Extra inputs are not permitted"],
    ),
    "a field left out": ([("problem.metric", ...)], ["problem.metric", "Field required"]),
    "a length without its unit": (
        [("data.horizon", 6)],
        ["data.horizon", "write a number and a unit, for example 30min"],
    ),
    "a date with a zone": ([("data.start", "2020-01-01T00:00+01:00")], ["data.start", "dates here are local"]),
    "a name with a capital": ([("name", "Example")], ["name", "pattern"]),
}


@pytest.mark.parametrize("mistake", list(WRONG))
def test_contradiction_is_one_error_that_names_its_fields(mistake: str) -> None:
    changes, words = WRONG[mistake]
    with pytest.raises(ValidationError) as caught:
        ProjectSpec.model_validate(changed(*changes))

    (error,) = caught.value.errors()
    message = f"{'.'.join(str(part) for part in error['loc'])} {error['msg']}"
    for each in words:
        assert each in message


def test_several_contradictions_are_named_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        ProjectSpec.model_validate(changed(("serving.every", "8h"), ("retraining.cooldown", "3d")))
    message = " ".join(error["msg"] for error in caught.value.errors())
    assert "serving.every (8h)" in message and "retraining.cooldown (3d)" in message


def test_values_at_their_limit_are_valid() -> None:
    bounds: list[Change] = [
        ("problem.baseline.season", "7h"),
        ("serving.every", "6h"),
        ("retraining.cooldown", "79h"),
        ("promotion.min_rows", 48),
        ("data.training_window", "97h"),
        ("features.history.length", "2h"),
        ("monitoring.min_rows", 24),
        ("retraining.when", DRIFT),
        ("monitoring.current", "1d"),
    ]
    ProjectSpec.model_validate(changed(*bounds))


@pytest.mark.parametrize(
    "without_cause",
    [
        [("retraining.when", {"type": "age", "max": "90d"})],
        [("data.entity", "place")],
    ],
    ids=["age alone reads no window", "how many series there are is not known"],
)
def test_windows_of_few_rows_are_valid_where_they_can_be_enough(without_cause: list[Change]) -> None:
    ProjectSpec.model_validate(changed(("monitoring.min_rows", 25), *without_cause))


def test_any_serving_interval_is_valid_without_a_horizon() -> None:
    ProjectSpec.model_validate(changed(("data.horizon", "0h"), ("serving.every", "3d")))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "example_project.reed",
            "example_project.reed cannot be imported: module 'example_project' has no attribute 'reed'",
        ),
        ("levels.read", "levels.read cannot be imported: No module named 'levels'"),
        ("example_project.DAYS", "example_project.DAYS is a value of type int, not a function"),
    ],
)
def test_function_that_cannot_be_imported_is_named_with_file_and_line(path: str, words: str, tmp_path: Path) -> None:
    attributes = changed(("data.source", path))
    file = tmp_path / "defs.yaml"
    file.write_text(yaml.safe_dump({"type": "mlops_assets.MLProject", "attributes": attributes}, sort_keys=False))
    line = 1 + next(i for i, text in enumerate(file.read_text().splitlines()) if f"source: {path}" in text)
    with pytest.raises(SpecError) as caught:
        require_importable(ProjectSpec.model_validate(attributes), file)

    assert caught.value.place == f"{file}:{line} (data.source)" and words in str(caught.value)


# The commands of `dg`, on a copy of the repository with other projects


def dg_command(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("dg")), *words], cwd=project, capture_output=True, text=True, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Create a repository that `dg` accepts, without projects."""
    folder = tmp_path / "checkout"
    package = folder / "mlops_assets"
    shutil.copytree(
        ROOT / "mlops_assets", package, ignore=shutil.ignore_patterns("__pycache__", "bike_demand", "electricity")
    )
    for name in ("resources", "sensors"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dg.toml", "pyproject.toml", "definitions.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_dg_check_yaml_names_the_line_of_a_mistake(project: Path) -> None:
    demo = project / "mlops_assets" / "projects" / "demo_x"
    demo.mkdir()
    text = example_yaml("demo_x").replace("every: 1h}", "evry: 1h}")
    (demo / "defs.yaml").write_text(text)
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if "evry" in row)
    found = dg_command(project, "check", "yaml", "--no-validate-requirements")

    message = found.stdout + found.stderr
    assert found.returncode != 0
    assert f"defs.yaml:{line}" in message and "evry" in message


def test_dg_scaffold_writes_a_valid_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = dg_command(project, "scaffold", "defs", "mlops_assets.MLProject", "demo_x")
    assert made.returncode == 0, made.stdout + made.stderr
    demo = project / "mlops_assets" / "projects" / "demo_x"
    written = yaml.safe_load((demo / "defs.yaml").read_text())
    spec = ProjectSpec.model_validate(written["attributes"])

    assert written["type"] == "mlops_assets.MLProject" and spec.name == "demo_x"
    assert spec.data.source == "mlops_assets.projects.demo_x.source.read"
    assert (demo / "__init__.py").exists() and (demo / "source.py").read_text() == EXAMPLE_SOURCE
    monkeypatch.syspath_prepend(str(demo))
    monkeypatch.delitem(sys.modules, "source", raising=False)
    source = importlib.import_module("source")
    from mlops_assets.source.project_source import ProjectSource

    here = spec.model_copy(update={"data": spec.data.model_copy(update={"source": "source.read"})})
    timeline = Timeline(here)
    window = timeline.window_at(timeline.start)
    rows = ProjectSource(here, timeline).read(window.start, window.end)
    assert len(rows) == 168 and list(rows.columns) == ["event_time", "hour", "value"]
    assert source.read is ProjectSource(here, timeline).function


def test_reading_a_file_names_the_line_of_each_mistake(tmp_path: Path) -> None:
    attributes = changed(("problem.metric", "nope"), ("serving.every", "6"))
    file = tmp_path / "defs.yaml"
    file.write_text(yaml.safe_dump({"type": "mlops_assets.MLProject", "attributes": attributes}, sort_keys=False))
    lines = {text.strip(): number for number, text in enumerate(file.read_text().splitlines(), start=1)}
    metric, every = lines["metric: nope"], lines["every: '6'"]
    with pytest.raises(SpecError) as caught:
        read_specs(file)
    assert caught.value.place == f"{file}:{metric}"
    assert f"line {metric}, problem.metric: Input should be 'mae'" in caught.value.found
    assert f"line {every}, serving.every: Value error, '6' is not a length of time" in caught.value.found


def test_a_file_that_is_not_yaml_is_a_spec_error(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text("attributes: [\n")
    with pytest.raises(SpecError, match="it is not YAML"):
        read_specs(file)
