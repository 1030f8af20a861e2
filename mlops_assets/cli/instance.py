"""Opens Dagster's instance: on the state folder, as `dagster dev` uses it, or on PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import dagster as dg
import yaml
from filelock import FileLock

from mlops_assets import dagster_config
from mlops_assets.files import write_text
from mlops_assets.loop.dagster_storage import translate_storage_errors
from mlops_assets.resources.settings import Settings

EMBEDDED, ON_POSTGRESQL = (resources.files(dagster_config) / name for name in ("embedded.yaml", "postgresql.yaml"))


def dagster_home(settings: Settings) -> Path:
    """Return the folder whose dagster.yaml is used; its storage can be opened by several processes at once.

    It is the folder that the settings name. Else, where the state folder is the repository's own `.mlops`, it is the
    repository, because `dagster dev` reads that dagster.yaml too. For another state folder, or on PostgreSQL, it is a
    folder in the state folder with the shipped file, in which all paths are absolute.
    """
    if settings.dagster_home is not None:
        return settings.dagster_home.absolute()
    state = settings.home.absolute()
    if settings.database_url:
        return _write_home(ON_POSTGRESQL, state)
    root = settings.root
    own = root is not None and state == root / ".mlops" and (root / "dagster.yaml").exists()
    home = root if root is not None and own else _write_home(EMBEDDED, state)
    _make_tables(home, state)
    return home


@contextmanager
def instance_of(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open the instance; relative folders of dagster.yaml count from the working directory.

    Raises:
        DagsterError, DagsterUnreachable: the database of its storage refuses, or does not answer.
    """
    if settings.root is not None:
        os.chdir(settings.root)
    with translate_storage_errors("-"):
        opened = dg.DagsterInstance.from_config(str(dagster_home(settings)))
    with opened as instance:
        yield instance


def _write_home(shipped: Traversable, state: Path) -> Path:
    home = state / "dagster_home"
    home.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(shipped.read_text())
    parts = [config["local_artifact_storage"]["config"], config["compute_logs"]["config"], *config["storage"].values()]
    for part in parts:
        if "base_dir" in part:
            part["base_dir"] = str(state / Path(part["base_dir"]).relative_to(".mlops"))
    write_text(home / "dagster.yaml", yaml.safe_dump(config))
    return home


def _make_tables(home: Path, state: Path) -> None:
    """Create the tables of an SQLite storage in one process alone.

    Of two processes that open an empty storage at the same time, the second may find a table without a schema version.
    It then treats the storage as an old one and stores a second version, and no process can open it any more.
    PostgreSQL's storage has no such step.
    """
    state.mkdir(parents=True, exist_ok=True)
    made = state / "dagster" / "storage" / ".made"
    with FileLock(state / "dagster.lock"):
        if made.exists():
            return
        with chdir(home), dg.DagsterInstance.from_config(str(home)):
            made.touch()
