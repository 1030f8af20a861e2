"""The service's Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mlops_assets.prediction.service_api import Slot
from mlops_assets.serving.model_slots import ModelSlots

LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram, in seconds."""


class Metrics:
    """The metrics that `/metrics` shows.

    Args:
        project: label of the metrics about models.
        slots: the loaded versions.
        backlog: returns the number of events without a prediction by the shadow.
    """

    def __init__(self, project: str, slots: ModelSlots, backlog: Callable[[], int]) -> None:
        self.project, self.slots = project, slots
        self.registry = CollectorRegistry()
        self.requests = Counter("mlops_requests", "Requests to /invocations.", ["status"], registry=self.registry)
        self.errors = Counter("mlops_errors", "Responses with 4xx or 5xx.", ["class"], registry=self.registry)
        self.predictions = Counter("mlops_answers", "Predicted rows.", ["role"], registry=self.registry)
        self.latency = Histogram(
            "mlops_latency_seconds",
            "Time from request to response.",
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.model = Gauge(
            "mlops_model_info",
            "The version in a slot.",
            ["project", "place", "version", "dataset"],
            registry=self.registry,
        )
        memory = Gauge("mlops_memory_bytes", "Resident memory of the process.", registry=self.registry)
        memory.set_function(resident_memory)
        waiting = Gauge("mlops_shadow_backlog", "Events without a prediction by the shadow.", registry=self.registry)
        waiting.set_function(backlog)

    def observe(self, status: int, seconds: float, role: str, rows: int) -> None:
        """Count a request.

        Args:
            status: HTTP status of its response.
            seconds: time from request to response.
            role: `champion` for a request of the scorer, `ad_hoc` for any other.
            rows: number of its rows.
        """
        self.requests.labels(str(status)).inc()
        self.latency.observe(seconds)
        if status >= 400:
            self.errors.labels(f"{status // 100}xx").inc()
        else:
            self.predictions.labels(role).inc(rows)

    def text(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        self.model.clear()
        for slot in get_args(Slot):
            loaded = self.slots.at(slot)
            if loaded is not None:
                dataset = loaded.predictor.manifest.dataset
                self.model.labels(self.project, slot, str(loaded.version), dataset).set(1)
        return generate_latest(self.registry)


def resident_memory() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(psutil.Process().memory_info().rss)
