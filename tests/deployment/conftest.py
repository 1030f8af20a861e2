from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bundles import Version, train_all
from filelock import FileLock
from services import Client, Start, Versions, serving


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """Trained once, also when several workers run the tests."""
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


@pytest.fixture
def prices(versions: Versions) -> dict[int, Version]:
    return versions["prices"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a service within this process, on state in `tmp_path`; it is stopped after the test."""
    with ExitStack() as stack:

        def started(version: Version, serve: int | None = 1, **settings: Any) -> Client:
            return stack.enter_context(serving(version, tmp_path, serve, **settings))

        yield started
