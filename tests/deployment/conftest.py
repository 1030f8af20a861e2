from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import Version, train_all
from filelock import FileLock

from mlops_assets.deployment.server import Service
from resources.service_config import ModelRef, ServiceConfig

Versions = dict[str, dict[int, Version]]


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


def ref(version: Version, number: int) -> ModelRef:
    return ModelRef(version=number, folder=version.folder)


class Client:
    """Talks to a service within this process."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(service)  # type: ignore[arg-type]
        self._client = httpx.AsyncClient(transport=transport, base_url="http://service", timeout=60)
        self.scorer = {"X-Scorer-Token": service.scorer_token}

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def ask(self, records: Any, form: str = "dataframe_records", **options: Any) -> httpx.Response:
        return self.post("/invocations", json={form: records}, **options)

    def together(self, *calls: dict[str, Any]) -> list[httpx.Response]:
        """Requests in flight at the same time."""

        async def run() -> list[httpx.Response]:
            return await asyncio.gather(*(self._client.request(**call) for call in calls))

        return self._runner.run(run())

    def admin(self, path: str, **body: Any) -> httpx.Response:
        return self.post(f"/admin/{path}", json=body, headers=self.scorer)


Start = Callable[..., Client]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a service within this process, on state in `tmp_path`; it is stopped after the test."""
    with ExitStack() as stack:

        def started(version: Version, serve: int | None = 1, **settings: Any) -> Client:
            return stack.enter_context(serving(version, tmp_path, serve, **settings))

        yield started


@contextmanager
def serving(version: Version, state: Path, serve: int | None = 1, **settings: Any) -> Iterator[Client]:
    config = ServiceConfig(
        spec=version.spec, state=state, serve=None if serve is None else ref(version, serve), **settings
    )
    service = Service(config)
    service.start()
    client = Client(service)
    try:
        yield client
    finally:
        client.close()
        service.stop()
