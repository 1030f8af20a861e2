"""Fixtures of all tests. The modules in this folder can be imported by them."""

from __future__ import annotations

import os
import pickle

import pytest
from bundles import Version, Versions, train_all
from example_project import States
from filelock import FileLock

from mlops_assets.garbage_collection import collect_rarely

SLOW_FOLDERS = {"byhand", "cli", "compatibility", "e2e", "faults", "loop", "project", "resources"}
"""Their tests start commands, services, JVMs or Dagster runs."""
SLOW_FIXTURES = {"cluster", "fitted", "states", "versions"}
"""They train models in a JVM, or run the loop."""

collect_rarely()


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory) -> States:
    return States(tmp_path_factory.mktemp("states"))


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """Model versions, trained once for all workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "versions"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        kept = folder / "versions.pickle"
        if not kept.exists():
            kept.write_bytes(pickle.dumps(train_all(folder)))
    made: Versions = pickle.loads(kept.read_bytes())
    return made


@pytest.fixture
def rentals(versions: Versions) -> dict[int, Version]:
    return versions["rentals"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, and group those that use the same states in one process, so that each state is made once."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "states" in fixtures:
            item.add_marker(pytest.mark.xdist_group("states"))
        if item.path.parent.name in SLOW_FOLDERS or fixtures & SLOW_FIXTURES:
            item.add_marker(pytest.mark.slow)
