"""What a service tells about itself: Prometheus metrics, the request log, JSON log lines."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mlops_assets.prediction.records import RequestLine
from mlops_assets.serving.model_slots import ModelSlots

if TYPE_CHECKING:
    from mlops_assets.resources.telemetry.prediction_log import PredictionLog

WRITE_EVERY = 0.5
"""Seconds between two writes of the request log: what a killed service may lose of it."""
LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

log = logging.getLogger("mlops_assets.serving.metrics")


class Metrics:
    """The service's Prometheus metrics.

    Args:
        project: label of the model's information.
        model slots: the versions.
        backlog: the shadow's.
    """

    def __init__(self, project: str, slots: ModelSlots, backlog: Callable[[], int]) -> None:
        self.project, self.slots = project, slots
        self.registry = CollectorRegistry()
        self.requests = Counter("mlops_requests", "Requests to /invocations.", ["status"], registry=self.registry)
        self.errors = Counter("mlops_errors", "Requests answered with 4xx or 5xx.", ["class"], registry=self.registry)
        self.answers = Counter("mlops_answers", "Rows answered.", ["role"], registry=self.registry)
        self.latency = Histogram(
            "mlops_latency_seconds", "From a request to its answer.", buckets=LATENCY_BUCKETS, registry=self.registry
        )
        self.model = Gauge(
            "mlops_model_info",
            "The version at a place.",
            ["project", "place", "version", "dataset"],
            registry=self.registry,
        )
        memory = Gauge("mlops_memory_bytes", "Resident memory of the process.", registry=self.registry)
        memory.set_function(rss)
        waiting = Gauge("mlops_shadow_backlog", "Answers without the shadow's prediction.", registry=self.registry)
        waiting.set_function(backlog)

    def observe(self, status: int, seconds: float, role: str, rows: int) -> None:
        """Count a request."""
        self.requests.labels(str(status)).inc()
        self.latency.observe(seconds)
        if status >= 400:
            self.errors.labels(f"{status // 100}xx").inc()
        else:
            self.answers.labels(role).inc(rows)

    def text(self) -> bytes:
        """The metrics in Prometheus's text format."""
        self.model.clear()
        for place in ("champion", "standby", "shadow"):
            loaded = self.slots.at(place)
            if loaded is not None:
                dataset = loaded.predictor.manifest.dataset
                self.model.labels(self.project, place, str(loaded.version), dataset).set(1)
        return generate_latest(self.registry)


class RequestLog:
    """Collects lines of the request log and writes them in the background, so that no answer waits for them.

    Args:
        telemetry: where they are written; its write-ahead log is copied into place from here, too.
    """

    def __init__(self, telemetry: PredictionLog) -> None:
        self.telemetry = telemetry
        self.failure: str | None = None
        """Why the newest write failed; None: it did not."""
        self._lines: list[RequestLine] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left and end."""
        self._end.set()
        self._thread.join()
        self.flush()

    def add(self, now: datetime | None, status: int, seconds: float, role: str, rows: int) -> None:
        """Add a request that was answered just now."""
        line = RequestLine(datetime.now(UTC), now, status, seconds * 1000, role, rows)
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        """Write what was collected."""
        with self._lock:
            lines, self._lines = self._lines, []
        if lines:
            self.telemetry.record_requests(lines, rss())

    def _run(self) -> None:
        while not self._end.wait(WRITE_EVERY):
            try:
                self.flush()
                self.telemetry.checkpoint()
                self.failure = None
            except Exception as error:
                self.failure = repr(error)
                # a full disk must not end the log for good; answers fail by themselves then
                log.exception("the request log could not be written")


def rss() -> int:
    """Bytes of resident memory of this process."""
    return int(psutil.Process().memory_info().rss)
