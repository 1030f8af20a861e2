"""Prediction logs as a service writes them, and a forwarder process for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
from servers import free_port, wait_until

from mlops_assets.prediction.records import PredictionRecord, RequestLine
from mlops_assets.resources.telemetry.prediction_log import PredictionLog, telemetry_path
from mlops_assets.timeline import event_id

T0 = datetime(2011, 4, 2, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMES = [*(f"cnt__feature_{number}" for number in range(20)), "sky"]
LEVELS = {"sky": ["clear", 'a b,c="d"\\']}


def open_log(home: Path, project: str) -> PredictionLog:
    """Open the prediction log of a project in a state folder."""
    return PredictionLog(telemetry_path(home / "projects", project))


def predictions(
    log: PredictionLog, project: str, first: int, after: int, *, text: bool = False
) -> list[PredictionRecord]:
    """Return seeded predictions for the events of hours [first, after), with special characters and special floats."""
    number = log.feature_set(NAMES, LEVELS)
    made = []
    for hour in range(first, after):
        draw, time = np.random.default_rng([1, hour]), T0 + hour * HOUR
        features = draw.normal(size=len(NAMES))
        features[[1, 2, -1]] = np.nan, -0.0, hour % 2
        shares = {"UP": float(draw.uniform()), "DOWN": 1e-300}
        made.append(
            PredictionRecord(
                event_id=event_id(project, None, time),
                role="champion",
                version=2,
                dataset="d1",
                project=project,
                entity=None,
                event_time=time,
                due=time - 24 * HOUR,
                answered_at=T0 + timedelta(microseconds=hour),
                now=time - 24 * HOUR,
                late=hour % 7 == 0,
                entity_known=True,
                inputs={
                    "event_time": time.isoformat(),
                    "temp": float(draw.normal()),
                    "cnt": draw.normal(size=24).tolist(),
                },
                feature_set=number,
                features=features,
                prediction="UP" if text else float(draw.normal()),
                probabilities=shares if text else None,
            )
        )
    return made


def fill(log: PredictionLog, project: str, hours: int, *, text: bool = False) -> None:
    """Write predictions of all roles, and requests of all kinds."""
    given = predictions(log, project, 0, hours, text=text)
    log.record(given)
    log.record([replace(each, role="shadow", version=1) for each in given])
    for _ in range(2):  # there may be many requests for the same event
        log.record([replace(each, role="ad_hoc", due=None, entity="north") for each in given[:5]])
    lines = [
        RequestLine(T0, T0 + number * HOUR / 4, 200 if number % 5 else 422, 1.5 + number, "champion", 3)
        for number in range(4 * hours)
    ]
    log.record_requests([*lines, RequestLine(T0, None, 503, 0.5, "ad_hoc", 1)], rss=12_345_678)


class ForwarderProcess:
    """The process `python -m mlops_assets.resources.telemetry.forwarder` on a state folder."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self.home, self.port = home, free_port()
        self.log = home / "forwarder.log"
        self.environment = {**os.environ, **environment, "MLOPS_ASSETS_HOME": str(home)}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it may not be ready when this returns."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlops_assets.resources.telemetry.forwarder", "--port", str(self.port)],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def end(self, how: signal.Signals = signal.SIGTERM, within: float = 10.0) -> int:
        """End the process, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(within)

    def get(self, path: str) -> httpx.Response | None:
        """Return the response to a GET request; None while the process does not listen."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5, trust_env=False)
        except httpx.TransportError:
            return None

    def ready(self) -> bool:
        """Return whether `/readyz` reports no problem."""
        found = self.get("/readyz")
        return found is not None and found.status_code == 200


@contextmanager
def forwarding(home: Path, environment: Mapping[str, str]) -> Iterator[ForwarderProcess]:
    """Run a forwarder; it is ready when the block starts, and ended after the block."""
    found = ForwarderProcess(home, environment)
    found.start()
    try:
        wait_until(found.ready, 30)
        yield found
    finally:
        if found.process is not None and found.process.poll() is None:
            found.end(signal.SIGKILL)
