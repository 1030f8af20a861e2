"""What an interpreter has loaded after an import: import-linter's contracts say what may be reached, not what is."""

from __future__ import annotations

import subprocess
import sys

import pytest
from source_code import ROOT, below, modules

pytestmark = pytest.mark.slow  # each test imports the package in an interpreter of its own

PHASES = {f"mlops_assets.{phase}" for phase in ("business", "acquisition", "modeling", "deployment", "monitoring")}
CORE = {
    f"mlops_assets.{name}"
    for name in ("context", "spec", "timeline", "source", "ledger", "evaluation", "prediction", "retraining", "charts")
}
HEAVY = {"h2o", "mlflow", "evidently", "tsfresh", "dvc", "sklearn", "matplotlib", "scipy", "jpype", "dagster_mlflow"}
"""Each takes a second or more to import."""
LOADED_BY_MLFLOW = "mlops_assets.prediction.model"
"""MLflow loads this module by its file, in a process that serves a model."""


def loaded_by(code: str) -> set[str]:
    """Return the top-level names in `sys.modules` after a fresh interpreter has run the code."""
    script = f"import sys\n{code}\nprint('loaded:', *{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


def plain_modules() -> list[str]:
    """Return the names of the core's modules, and of the modules of the phases that do not use Dagster."""
    names = [module.name for module in modules()]
    core = [name for name in names if below(name, CORE) and name != LOADED_BY_MLFLOW and ".migrations" not in name]
    phases = [name for name in names if below(name, PHASES) and name.rpartition(".")[2] not in {"assets", "metadata"}]
    assert core and phases
    return [*core, *phases]


def test_plain_modules_load_neither_dagster_nor_heavy_libraries() -> None:
    loaded = loaded_by("\n".join(f"import {name}" for name in plain_modules()))
    assert not loaded & (HEAVY | {"dagster"})


def test_building_all_definitions_loads_no_heavy_library() -> None:
    loaded = loaded_by("import definitions; definitions.defs().get_repository_def()")
    assert "dagster" in loaded
    assert not loaded & HEAVY


def test_scoring_service_loads_neither_dagster_nor_training_libraries() -> None:
    loaded = loaded_by("import mlops_assets.serving.app")
    assert "fastapi" in loaded
    assert not loaded & {"dagster", "mlflow", "h2o", "evidently"}


def test_forwarder_loads_neither_dagster_nor_training_libraries() -> None:
    loaded = loaded_by(
        "from mlops_assets.resources.settings import Settings\n"
        "import mlops_assets.resources.telemetry.forwarder, gcsfs, influxdb_client\n"
        "from mlops_assets.resources.storage.lake import Lake\n"
        "Lake('gs://bucket/lake')"
    )
    assert "influxdb_client" in loaded
    assert not loaded & {"dagster", "mlflow", "h2o", "evidently", "dvc"}


def test_computing_features_does_not_load_numba() -> None:
    loaded = loaded_by(
        "from mlops_assets.prediction.features import plan\n"
        "plan(('mean',))\n"
        "import inspect; inspect.getmodule(sys._getframe())"
    )
    assert "tsfresh" in loaded
    assert "numba" not in loaded


def test_calculator_that_needs_stumpy_loads_it() -> None:
    loaded = loaded_by(
        "from mlops_assets.prediction.features import plan\n"
        "import numpy\n"
        "(call,) = plan(('query_similarity_count__query_None__threshold_0.0',))\n"
        "from tsfresh.feature_extraction import feature_calculators\n"
        "given = [{'query': numpy.ones(4), 'threshold': 0.0}]\n"
        "assert feature_calculators.query_similarity_count(numpy.arange(9.0), given)[0][1] == 0"
    )
    assert "numba" in loaded


@pytest.mark.parametrize("command", ["status", "serve endpoint", "serve forwarder"])
def test_command_help_loads_neither_dagster_nor_heavy_libraries(command: str) -> None:
    words = [*command.split(), "--help"]
    loaded = loaded_by(
        f"from typer.testing import CliRunner\nfrom mlops_assets.cli import app\nCliRunner().invoke(app, {words})"
    )
    assert not loaded & (HEAVY | {"dagster"})
