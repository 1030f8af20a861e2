"""Dagster's own storage and configuration, as the commands prepare them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import yaml
from repositories import make_repository
from typer.testing import CliRunner

from mlops_assets.cli import app
from mlops_assets.cli.instance import EMBEDDED, ON_POSTGRESQL, dagster_home
from mlops_assets.resources.settings import Settings

OPEN = """
import sys
import dagster as dg
from mlops_assets.cli import instance
from mlops_assets.resources.settings import Settings
settings = Settings()
print("ready", flush=True)
sys.stdin.readline()
with instance.instance_of(settings) as found:
    print(found.get_runs_count())
"""


def test_processes_may_open_an_empty_storage_at_the_same_time(tmp_path: Path) -> None:
    environment = {**os.environ, "MLOPS_ASSETS_HOME": str(tmp_path / "state")}
    opening = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for each in opening:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in opening:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    assert [each.communicate(timeout=120)[0] for each in opening] == ["0\n"] * 4
    assert [each.returncode for each in opening] == [0] * 4


def test_dagster_yaml_for_postgresql_differs_in_the_storage_only(tmp_path: Path) -> None:
    embedded, servers = (yaml.safe_load(file.read_text()) for file in (EMBEDDED, ON_POSTGRESQL))
    assert servers.pop("storage") == {"postgres": {"postgres_url": {"env": "MLOPS_ASSETS_DATABASE_URL"}}}
    assert embedded.pop("storage").keys() == {"sqlite"}
    assert servers == embedded


def test_dagster_home_in_a_state_folder_has_the_file_of_its_mode(tmp_path: Path) -> None:
    def storage(**settings: Any) -> dict[str, object]:
        found = yaml.safe_load((dagster_home(Settings(home=tmp_path, **settings)) / "dagster.yaml").read_text())
        assert found["compute_logs"]["config"]["base_dir"] == str(tmp_path / "dagster" / "logs")
        return dict(found["storage"])

    assert storage() == {"sqlite": {"base_dir": str(tmp_path / "dagster" / "storage")}}
    assert storage(database_url="postgresql://mlops@127.0.0.1:1/mlops").keys() == {"postgres"}


def test_dagster_home_command_prints_a_folder_for_dagster_dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_ASSETS_HOME", str(tmp_path))
    home = Path(CliRunner().invoke(app, ["dagster-home"]).stdout.strip())
    storage = yaml.safe_load((home / "dagster.yaml").read_text())["storage"]
    assert storage == {"sqlite": {"base_dir": str(tmp_path / "dagster" / "storage")}}


def test_root_file_is_used_for_the_default_state_folder(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repository")
    (root / "dagster.yaml").write_text(EMBEDDED.read_text())
    here = Path.cwd()
    with chdir(root):
        assert dagster_home(Settings(root=root, home=root / ".mlops")) == root
    assert (root / ".mlops" / "dagster" / "storage").is_dir() and Path.cwd() == here
