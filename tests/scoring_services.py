"""Scoring services for tests, within the process of the test."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pandas as pd
from bundles import Version

from mlops_assets.prediction.records import Role
from mlops_assets.resources.scoring.config import ModelRef, ServiceConfig
from mlops_assets.serving.app import App
from mlops_assets.serving.service import Service
from mlops_assets.timeline import Timeline, iso, parse

EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
HOUR = timedelta(hours=1)
T = TypeVar("T")


def ref(version: Version, number: int) -> ModelRef:
    return ModelRef(version=number, folder=version.folder)


class AppClient:
    """Sends requests to an ASGI application within this process."""

    def __init__(self, app: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", timeout=60)

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self._client.request(method, path, **options)

    def run(self, asking: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(asking)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self.run(self.send(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


class Client(AppClient):
    """Sends requests to a service within this process."""

    def __init__(self, service: Service) -> None:
        super().__init__(App(service))
        self.service = service
        self.scorer = {"X-Scorer-Token": service.scorer_token}

    def ask(self, records: Any, form: str = "dataframe_records", **options: Any) -> httpx.Response:
        return self.post("/invocations", json={form: records}, **options)

    def admin(self, path: str, **body: Any) -> httpx.Response:
        return self.post(f"/admin/{path}", json=body, headers=self.scorer)


Start = Callable[..., Client]


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


def due_of(version: Version, records: list[dict[str, Any]]) -> list[datetime]:
    return [Timeline(version.spec).due(parse(record["event_time"])) for record in records]


def score(client: Client, version: Version, records: list[dict[str, Any]], late_by: timedelta = timedelta(0)) -> Any:
    due = due_of(version, records)
    body = {"dataframe_records": records, "due": [iso(d) for d in due], "now": [iso(d + late_by) for d in due]}
    return client.post("/invocations", json=body, headers=client.scorer)


def recorded(client: Client, *roles: Role) -> pd.DataFrame:
    return client.service.telemetry.predictions(client.service.project, *EVER, roles=roles)


def later(version: Version, as_of: datetime, folder: Path) -> Path:
    """Return a copy of a version whose training data were taken at another time."""
    copy = folder / "later"
    shutil.copytree(version.folder, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "as_of": iso(as_of)}))
    return copy


def wait_for(condition: Callable[[], bool], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
