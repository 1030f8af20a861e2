"""`mlops-assets init`: a repository that runs, alone and with another one in the same Dagster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from typer.testing import CliRunner

from mlops_assets.cli import app
from mlops_assets.cli.init import heat_demand, init_repository
from mlops_assets.errors import Refused
from mlops_assets.resources.repository import Repository

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init") / "energy-team"
    init_repository(folder, "heat_demand")
    return folder


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / words[0]), *words[1:]]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLOPS_ASSETS_")}
    return subprocess.run(command, cwd=folder, env={**env, **environment}, capture_output=True, text=True, check=False)


def test_non_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    done = CliRunner().invoke(app, ["init", str(tmp_path)])
    assert done.exit_code == 1 and "is not empty" in " ".join(done.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["2024", "mlops-assets", "---"])
def test_folder_name_must_give_a_package_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        init_repository(tmp_path / name, "heat_demand")
    assert not (tmp_path / name).exists()


def test_repository_has_one_valid_project(repository: Path) -> None:
    found = Repository.at(repository)
    assert list(found.specs()) == ["heat_demand"]
    assert (found.defs_module, found.code_location) == ("energy_team.projects", "energy_team")
    workspace = yaml.safe_load(found.workspace.read_text())["load_from"]
    assert [location["python_module"]["location_name"] for location in workspace] == [found.code_location]


def test_example_data_is_the_same_each_time() -> None:
    assert heat_demand().equals(heat_demand())


def test_tests_of_the_repository_pass(repository: Path) -> None:
    done = run(repository, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout


def test_code_of_the_repository_passes_its_linter(repository: Path) -> None:
    for words in (["check", "."], ["format", "--check", "."]):
        done = run(repository, "ruff", *words, "--no-cache")
        assert done.returncode == 0, done.stdout + done.stderr


def test_status_shows_the_projects_of_the_repository_only(repository: Path, tmp_path: Path) -> None:
    done = run(repository / "tests", "mlops-assets", "status", "--json", MLOPS_ASSETS_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert list(yaml.safe_load(done.stdout)["projects"]) == ["heat_demand"]


def test_dg_scaffold_writes_a_project_into_the_repository(tmp_path: Path) -> None:
    folder = tmp_path / "energy"
    init_repository(folder, "heat_demand")
    made = run(folder, "dg", "scaffold", "defs", "mlops_assets.MLProject", "load")
    assert made.returncode == 0, made.stdout + made.stderr
    specs = Repository.at(folder).specs()
    assert specs["load"].data.source == "energy.projects.load.source.read"
    checked = run(folder, "dg", "check", "defs", MLOPS_ASSETS_HOME=str(tmp_path / "state"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_two_repositories_run_on_one_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One Dagster loads both as code locations, on one state folder, each with its own projects."""
    locations: list[dict[str, Any]] = []
    for name, project in (("heat", "heat_demand"), ("power", "power_demand")):
        init_repository(tmp_path / name, project)
        entry = yaml.safe_load((tmp_path / name / "workspace.yaml").read_text())["load_from"][0]
        entry["python_module"]["working_directory"] = name
        locations.append(entry)
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": locations}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_ASSETS_HOME", str(tmp_path / "state"))
    with (
        dg.instance_for_test() as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as process,
    ):
        context = process.create_request_context()
        assert not [entry.load_error for entry in context.get_code_location_entries().values() if entry.load_error]
        repositories = {
            location.name: next(iter(location.get_repositories().values())) for location in context.code_locations
        }
        jobs = {name: {job.name for job in found.get_all_jobs()} for name, found in repositories.items()}
        assert {"heat_demand_bootstrap"} <= jobs["heat"] and {"power_demand_bootstrap"} <= jobs["power"]
        assert not (jobs["heat"] & jobs["power"]) - {"__ASSET_JOB"}
        sensors = [found.get_sensor("run_status") for found in repositories.values()]
        assert len({sensor.get_remote_origin_id() for sensor in sensors}) == 2
