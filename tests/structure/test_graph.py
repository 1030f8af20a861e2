"""The asset graph is the designed one: edges, jobs, sensors, and the one missing edge that a sensor stands for."""

from __future__ import annotations

from functools import cache
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import dagster as dg
from asset_graph import definitions, graph_text, shipped_spec

from mlops_assets.blueprint import CHECKS, WINDOWED, Blueprint

SNAPSHOT = Path(__file__).with_name("graph.txt")
PHASES = ["business", "acquisition", "modeling", "deployment", "monitoring"]


@cache
def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.path[-1]: spec for spec in definitions().resolve_all_asset_specs()}


def edges() -> set[tuple[str, str]]:
    return {(dep.asset_key.path[-1], name) for name, spec in specs().items() for dep in spec.deps}


def test_graph_equals_the_snapshot() -> None:
    update = "python tests/structure/asset_graph.py > tests/structure/graph.txt"
    assert graph_text() == SNAPSHOT.read_text(), f"if the change is intended: {update}"


def test_phases_follow_each_other_without_a_cycle() -> None:
    phase = {name: str(spec.tags["phase"]) for name, spec in specs().items()}
    needs: dict[str, set[str]] = {name: set() for name in PHASES}
    for above, below in edges():
        if phase[above] != phase[below]:
            needs[phase[below]].add(phase[above])
    order = list(TopologicalSorter(needs).static_order())
    assert order == PHASES
    for before, after in pairwise(PHASES):
        assert before in needs[after], f"{after} does not follow from {before}"


def test_graph_begins_with_the_business_case_and_ends_with_the_decision() -> None:
    ends = set(specs()) - {above for above, _ in edges()}
    starts = set(specs()) - {below for _, below in edges()}
    assert (starts, ends) == ({"business_case"}, {"retraining_decision"})


def test_retraining_sensor_stands_for_the_edge_from_decision_to_dataset() -> None:
    spec = shipped_spec()
    assert ("retraining_decision", "dataset") not in edges()
    gaps = {
        name: found.metadata[key]
        for name, found in specs().items()
        for key in ("triggers", "triggered by")
        if key in found.metadata
    }
    assert set(gaps) == {"retraining_decision", "dataset"}
    for name in gaps:
        assert f"{spec.name}_retraining" in str(gaps[name]), "both ends name the sensor"
        assert "retraining_decision" in str(specs()[name].description) or "`dataset`" in str(specs()[name].description)
    built = definitions()
    (sensor,) = [found for found in built.sensors or [] if found.name == f"{spec.name}_retraining"]
    assert f"{spec.name}_retrain" in {target.job_name for target in sensor.targets}
    retrain = built.resolve_job_def(f"{spec.name}_retrain")
    assert dg.AssetKey([spec.name, "dataset"]) in retrain.asset_layer.selected_asset_keys


def test_every_asset_has_description_owner_tags_and_code_version() -> None:
    for name, spec in specs().items():
        assert spec.description and len(spec.description) > 20, name
        assert list(spec.owners) == shipped_spec().owners, name
        assert spec.kinds, name
        assert spec.tags["project"] == shipped_spec().name and spec.tags["phase"] in PHASES, name
        assert spec.group_name == f"{shipped_spec().name}_{spec.tags['phase']}", name
        assert spec.code_version, name


def test_partitions_and_checks_are_the_ones_of_the_blueprint() -> None:
    windowed = {name for name, spec in specs().items() if spec.partitions_def is not None}
    assert windowed == WINDOWED
    built: dict[str, set[str]] = {}
    for key in definitions().resolve_asset_graph().asset_check_keys:
        built.setdefault(key.asset_key.path[-1], set()).add(key.name)
    assert built == {asset: set(names) for asset, names in CHECKS.items()}


def test_jobs_run_the_checks_of_the_assets_they_materialize() -> None:
    blueprint, built = Blueprint(shipped_spec()), definitions()
    for suffix in ("bootstrap", "observe", "retrain", "heal"):
        layer = built.resolve_job_def(blueprint.job(suffix)).asset_layer
        wanted = {check for key in layer.selected_asset_keys for check in blueprint.checks_of(key.path[-1])}
        assert {key for key in layer.asset_graph.asset_check_keys if key in wanted} == wanted


def test_every_job_and_sensor_has_a_description() -> None:
    built = definitions()
    jobs = [job for job in built.resolve_all_job_defs() if not job.name.startswith("__")]
    assert len(jobs) == 8
    sensors = [sensor for sensor in built.sensors or [] if isinstance(sensor, dg.SensorDefinition)]
    assert not [job.name for job in jobs if not job.description]
    assert sensors and not [sensor.name for sensor in sensors if not sensor.description]
