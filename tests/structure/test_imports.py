"""Imports go one way, and heavy libraries wait until they are needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest
from source_code import ROOT, Module, below, modules

PHASES = {f"mlops_assets.{phase}" for phase in ("business", "acquisition", "modeling", "deployment", "monitoring")}
KERNELS = {"mlops_assets.prediction", "mlops_assets.retraining"}
GROUND = {"mlops_assets.spec", "mlops_assets.timeline.grid", "mlops_assets.timeline", "mlops_assets.errors"}
"""What everything stands on."""
ABOVE = {
    "definitions",
    "sensors",
    "mlops_assets.component",
    "mlops_assets.jobs",
    "mlops_assets.loop.replay",
    "mlops_assets.blueprint",
    "mlops_assets.cli",
    "mlops_assets.projects",
}
"""What is made of rooms, or stands beside Dagster."""
PLAIN = {f"mlops_assets.{name}" for name in ("losses", "bands", "pictures", "live_pictures", "card", "dashboards")}
"""Calculations and drawings that several rooms share."""
HANDED_IN = {
    # a resource hands in an object of a room's own plain class; the exact module is named
    "mlops_assets.resources.source": {
        "mlops_assets.source.project_source"
    },  # Source reads, whatever stands behind the function
    "mlops_assets.resources.platform": {
        "mlops_assets.source.project_source"
    },  # only as a type: a project context's `source`
}
KNOWS_DAGSTER = {"assets", "show"}
"""The modules of a room that speak to Dagster."""
HEAVY = {"h2o", "mlflow", "evidently", "tsfresh", "dvc", "sklearn", "matplotlib", "scipy", "jpype", "dagster_mlflow"}
OWN_PROCESS = {
    # what MLflow loads by file, in a process that serves a model
    "mlops_assets.prediction.model": {"mlflow"},
}

ALL = modules()
OWN = {module.name for module in ALL}


def of(packages: set[str]) -> list[Module]:
    found = [module for module in ALL if below(module.name, packages)]
    assert found, f"nothing lies in {packages}: the test looks in the wrong place"
    return found


def wrong(module: Module, forbidden: set[str]) -> set[str]:
    allowed = HANDED_IN.get(module.name, set())
    return {name for name in module.imports() if below(name, forbidden) and not below(name, allowed)}


@pytest.mark.parametrize("room", sorted(PHASES))
def test_rooms_never_import_each_other(phase: str) -> None:
    found = {module.name: wrong(module, PHASES - {phase}) for module in of({phase})}
    assert not {name: names for name, names in found.items() if names}


def test_rooms_import_nothing_that_is_made_of_them() -> None:
    shared = {"mlops_assets.blueprint"}
    found = {module.name: wrong(module, ABOVE - shared) for module in of(PHASES)}
    assert not {name: names for name, names in found.items() if names}


def test_kernels_import_no_room_no_resource_no_sensor_no_command() -> None:
    found = {module.name: wrong(module, PHASES | ABOVE | {"resources", "dagster"}) for module in of(KERNELS)}
    assert not {name: names for name, names in found.items() if names}


def test_spec_timeline_and_errors_import_nothing_above_them() -> None:
    found = {}
    for module in of(GROUND):
        own = {name for name in module.imports() if below(name, {"mlops_assets", "resources", "sensors", "dagster"})}
        found[module.name] = {name for name in own if not below(name, GROUND)}
    assert not {name: names for name, names in found.items() if names}


def test_shared_calculations_and_pictures_stand_below_the_rooms() -> None:
    found = {module.name: wrong(module, PHASES | ABOVE | {"resources", "dagster"}) for module in of(PLAIN)}
    assert not {name: names for name, names in found.items() if names}


def test_resources_import_no_room_but_the_class_they_hand_in() -> None:
    found = {module.name: wrong(module, PHASES | ABOVE) for module in of({"resources"})}
    assert not {name: names for name, names in found.items() if names}


def test_an_exception_that_is_no_longer_needed_is_removed() -> None:
    by_name = {module.name: module for module in ALL}
    for name, allowed in HANDED_IN.items():
        assert allowed <= by_name[name].imports(), f"{name} needs no exception any more"


def test_plain_code_of_a_room_knows_no_dagster() -> None:
    plain = [module for module in of(PHASES) if module.name.rpartition(".")[2] not in KNOWS_DAGSTER]
    dagster = {"dagster", "mlops_assets.blueprint", "mlops_assets.ui_metadata"}
    found = [module.name for module in plain if any(below(name, dagster) for name in module.imports())]
    assert not found


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {module.name: {name for name in module.imports_at_once() if name in OWN} for module in ALL}
    # a package's `__init__` runs before its modules do
    graph = {name: needs - {name} for name, needs in graph.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"{' <- '.join(error.args[1])}")


def test_no_project_is_named_outside_its_own_folder() -> None:
    projects = {path.parent.name for path in (ROOT / "mlops_assets" / "projects").glob("*/defs.yaml")}
    assert projects
    # the demo plays one of them, and the reference shows it
    conflict = [module for module in ALL if module.name not in {"mlops_assets.cli.demo", "mlops_assets.spec.reference"}]
    constants = {(m.name, node.value) for m in conflict for node in ast.walk(m.tree) if isinstance(node, ast.Constant)}
    assert not {(module, value) for module, value in constants if value in projects}


def test_heavy_libraries_are_imported_where_they_are_needed_only() -> None:
    found = {}
    for module in ALL:
        heavy = HEAVY - OWN_PROCESS.get(module.name, set())
        found[module.name] = {name for name in module.imports_at_once() if below(name, heavy)}
    assert not {name: names for name, names in found.items() if names}


def loaded_by(code: str) -> set[str]:
    """Top-level names in `sys.modules` after running code in a fresh interpreter."""
    script = f"import sys\n{code}\nprint('loaded:', *{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_building_all_definitions_loads_no_heavy_library() -> None:
    loaded = loaded_by("import definitions; definitions.defs().get_repository_def()")
    assert "dagster" in loaded
    assert not loaded & HEAVY


def test_a_scoring_service_loads_neither_dagster_nor_what_trains_models() -> None:
    loaded = loaded_by("import mlops_assets.serving.app")
    assert "fastapi" in loaded
    assert not loaded & {"dagster", "mlflow", "h2o", "evidently"}


def test_a_forwarder_loads_neither_dagster_nor_what_trains_models() -> None:
    loaded = loaded_by(
        "from mlops_assets.resources.settings import Settings\n"
        "import resources.forwarder, gcsfs, influxdb_client\n"
        "from mlops_assets.resources.storage.lake import Lake\n"
        "Lake('gs://bucket/lake')"
    )
    assert "influxdb_client" in loaded
    assert not loaded & {"dagster", "mlflow", "h2o", "evidently", "dvc"}


def test_computing_features_loads_no_numba() -> None:
    loaded = loaded_by(
        "from mlops_assets.prediction.features import plan\n"
        "plan(('mean',))\n"
        "import inspect; inspect.getmodule(sys._getframe())"
    )
    assert "tsfresh" in loaded
    assert "numba" not in loaded


def test_the_one_calculator_that_needs_stumpy_gets_it() -> None:
    loaded = loaded_by(
        "from mlops_assets.prediction.features import plan\n"
        "import numpy\n"
        "(call,) = plan(('query_similarity_count__query_None__threshold_0.0',))\n"
        "from tsfresh.feature_extraction import feature_calculators\n"
        "asked = [{'query': numpy.ones(4), 'threshold': 0.0}]\n"
        "assert feature_calculators.query_similarity_count(numpy.arange(9.0), asked)[0][1] == 0"
    )
    assert "numba" in loaded
