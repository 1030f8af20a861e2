"""Stop of a service: it ends within ten seconds, and no prediction that was sent is lost."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from bundles import Version
from scoring_services import ref

from mlops_assets.resources.scoring.config import CONFIG, ModelRef, ServiceConfig
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.resources.telemetry.prediction_log import PredictionLog, telemetry_path
from mlops_assets.timeline import Timeline, parse

STOP_WITHIN = 10.0
EVER = parse("2000-01-01T00:00:00Z"), parse("2100-01-01T00:00:00Z")


@pytest.fixture
def service(rentals: dict[int, Version], tmp_path: Path) -> Iterator[EndpointProcess]:
    with EndpointProcess(rentals[1].spec, tmp_path) as handle:
        handle.start(serve=ref(rentals[1], 1), shadow=ref(rentals[2], 2))
        yield handle
        handle.stop()


def end(handle: EndpointProcess) -> float:
    """Send SIGTERM, and return the seconds until the process has ended."""
    record = handle.record()
    assert record is not None
    process, begun = psutil.Process(record.pid), time.monotonic()
    os.kill(record.pid, signal.SIGTERM)
    process.wait(60)
    return time.monotonic() - begun


class Scoring(threading.Thread):
    """Scores one event after the other until the service has ended, and keeps the predictions it got."""

    def __init__(self, handle: EndpointProcess, version: Version, rows: range, together: int) -> None:
        super().__init__()
        url, token = handle.url, handle._headers(client=False)
        self.url, self.headers, self.version, self.rows, self.together = url, token, version, rows, together
        self.received: dict[str, float] = {}
        self.refused: list[int] = []

    def run(self) -> None:
        timeline = Timeline(self.version.spec)
        with httpx.Client(trust_env=False, timeout=60) as client:
            for start in range(self.rows.start, self.rows.stop, self.together):
                records = self.version.records[start : min(start + self.together, self.rows.stop)]
                due = [timeline.due(parse(record["event_time"])).isoformat() for record in records]
                body = {"inputs": records, "due": due, "now": due}
                try:
                    response = client.post(f"{self.url}/invocations", json=body, headers=self.headers)
                except httpx.TransportError:
                    return
                if response.is_success:
                    self.received |= {each["event_id"]: each["prediction"] for each in response.json()["predictions"]}
                else:
                    self.refused.append(response.status_code)


def logged(state: Path) -> dict[str, Any]:
    with PredictionLog(telemetry_path(state, "rentals")) as log:
        frame = log.predictions("rentals", *EVER)
    return dict(zip(frame["event_id"], frame["prediction"], strict=True))


def test_stop_under_load_loses_no_sent_prediction(
    service: EndpointProcess, rentals: dict[int, Version], tmp_path: Path
) -> None:
    rows = len(rentals[1].records)
    halves = [range(rows // 2), range(rows // 2, rows)]
    clients = [Scoring(service, rentals[1], half, together) for half, together in zip(halves, (1, 3), strict=True)]
    for client in clients:
        client.start()
    while not all(client.received for client in clients):
        time.sleep(0.01)
    took = end(service)
    for client in clients:
        client.join(60)
    received = clients[0].received | clients[1].received
    assert took < STOP_WITHIN
    assert 0 < len(received) < rows, "the service must end while requests are sent"
    assert [client.refused for client in clients] == [[], []]
    assert received.items() <= logged(tmp_path).items()


def test_long_work_does_not_delay_the_stop(
    service: EndpointProcess, rentals: dict[int, Version], tmp_path: Path
) -> None:
    """Batches that take longer than the time to stop are left, and the log stays valid."""
    body = json.dumps({"inputs": rentals[1].records[:1] * 40_000})
    responses: list[httpx.Response] = []

    def request() -> None:
        headers = {"Content-Type": "application/json"}
        responses.append(
            httpx.post(f"{service.url}/invocations", content=body, headers=headers, timeout=60, trust_env=False)
        )

    record = service.record()
    assert record is not None
    process, threads = psutil.Process(record.pid), [threading.Thread(target=request) for _ in range(8)]
    idle = process.cpu_times().user
    for thread in threads:
        thread.start()
    while process.cpu_times().user < idle + 0.5:  # it computes
        time.sleep(0.01)
    took = end(service)
    for thread in threads:
        thread.join(60)
    assert took < STOP_WITHIN
    assert len(responses) == len(threads)
    left = [response for response in responses if not response.is_success]
    assert {(response.status_code, response.json()["error"]["field"]) for response in left} == {(503, "service")}
    assert logged(tmp_path) == {}
    assert service.start(serve=ref(rentals[1], 1)).pid


def test_idle_service_ends_at_once(service: EndpointProcess) -> None:
    assert end(service) < 3


def test_service_ends_while_its_model_loads(rentals: dict[int, Version], tmp_path: Path) -> None:
    with EndpointProcess(rentals[1].spec, tmp_path) as handle:
        child = handle._start_process(handle._config(ref(rentals[1], 1), None))
        while handle.record() is None:
            assert child.poll() is None
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(STOP_WITHIN) == 128 + signal.SIGTERM
        kept = ServiceConfig.model_validate_json((handle.folder / CONFIG).read_text())
        assert kept.serve == ModelRef(version=1, folder=rentals[1].folder)
