"""Dagster's instance where the settings say: on the state folder, as `dagster dev` has it, or on PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import dagster as dg
import yaml
from filelock import FileLock

from mlops_assets.files import write_text
from mlops_assets.loop.dagster_storage import translate_storage_errors
from mlops_assets.resources.settings import ROOT, Settings

EMBEDDED, ON_POSTGRESQL = ROOT, ROOT / "deploy" / "dagster"


def dagster_home(settings: Settings) -> Path:
    """The folder whose dagster.yaml counts, its storage ready to be opened by several processes at once.

    It is the settings' own; else the shipped one of the mode, for another state folder as a copy that points there.
    """
    if settings.dagster_home is not None:
        return settings.dagster_home.absolute()
    shipped = ON_POSTGRESQL if settings.database_url else EMBEDDED
    home = shipped if settings.home.absolute() == ROOT / ".mlops" else _copy(shipped, settings.home.absolute())
    if not settings.database_url:
        _make_tables(home, settings.home.absolute())
    return home


@contextmanager
def instance_of(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open the instance; relative folders of dagster.yaml count from the project's root.

    Raises:
        DagsterError, DagsterUnreachable: the database of its storage refuses, or does not answer.
    """
    os.chdir(ROOT)
    with translate_storage_errors("-"):
        opened = dg.DagsterInstance.from_config(str(dagster_home(settings)))
    with opened as instance:
        yield instance


def _copy(shipped: Path, state: Path) -> Path:
    home = state / "dagster_home"
    home.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((shipped / "dagster.yaml").read_text())
    parts = [config["local_artifact_storage"]["config"], config["compute_logs"]["config"], *config["storage"].values()]
    for part in parts:
        if "base_dir" in part:
            part["base_dir"] = str(state / Path(part["base_dir"]).relative_to(".mlops"))
    write_text(home / "dagster.yaml", yaml.safe_dump(config))
    return home


def _make_tables(home: Path, state: Path) -> None:
    """Let one process alone make the tables of an SQLite storage.

    Of two that open an empty one at once, the second may see a table without its schema's version, take it for one of
    years ago, and note a second version: from then on nobody can open it. PostgreSQL's storage has no such step.
    """
    state.mkdir(parents=True, exist_ok=True)
    made = state / "dagster" / "storage" / ".made"
    with FileLock(state / "dagster.lock"):
        if made.exists():
            return
        with chdir(ROOT), dg.DagsterInstance.from_config(str(home)):
            made.touch()
