"""Servers that the tests of a session share. A test that stops or fills a server starts its own one from `servers`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Gcs, Influx, MLflowServer, Postgres


@pytest.fixture(scope="session")
def servers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the session's servers."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def postgres(servers_folder: Path) -> Iterator[Postgres]:
    with Postgres(servers_folder / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def influx(servers_folder: Path) -> Iterator[Influx]:
    with Influx(servers_folder / "influx") as server:
        yield server


@pytest.fixture(scope="session")
def gcs(servers_folder: Path) -> Iterator[Gcs]:
    with Gcs(servers_folder / "gcs") as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_server(servers_folder: Path, postgres: Postgres, gcs: Gcs) -> Iterator[MLflowServer]:
    with MLflowServer(servers_folder / "mlflow", postgres, gcs) as server:
        yield server
