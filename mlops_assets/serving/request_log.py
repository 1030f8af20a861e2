"""The request log: one line per request to `/invocations`, written in the background."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from mlops_assets.prediction.records import RequestLine
from mlops_assets.resources.telemetry.prediction_log import PredictionLog
from mlops_assets.serving.metrics import resident_memory

WRITE_EVERY = 0.5
"""Seconds between two writes. When the service is killed, the log of at most this time is lost."""

log = logging.getLogger("mlops_assets.serving.request_log")


class RequestLog:
    """Collects lines of the request log and writes them in a thread of its own, so that no response waits for them.

    Args:
        telemetry: the database. Its write-ahead log is checkpointed from the same thread.
    """

    def __init__(self, telemetry: PredictionLog) -> None:
        self.telemetry = telemetry
        self.failure: str | None = None
        """The error of the last write; None when it succeeded."""
        self._lines: list[RequestLine] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write the remaining lines and end the thread."""
        self._end.set()
        self._thread.join()
        self.flush()

    def add(self, now: datetime | None, status: int, seconds: float, role: str, rows: int) -> None:
        """Add a line for a request whose response was just sent.

        Args:
            now: the project's time, as far as the service knows it.
            status: HTTP status of the response.
            seconds: time from request to response.
            role: `champion` for a request of the scorer, `ad_hoc` for any other.
            rows: number of rows of the request.
        """
        line = RequestLine(datetime.now(UTC), now, status, seconds * 1000, role, rows)
        with self._lock:
            self._lines.append(line)

    def flush(self) -> None:
        """Write the lines that were collected."""
        with self._lock:
            lines, self._lines = self._lines, []
        if lines:
            self.telemetry.record_requests(lines, resident_memory())

    def _run(self) -> None:
        while not self._end.wait(WRITE_EVERY):
            try:
                self.flush()
                self.telemetry.checkpoint()
                self.failure = None
            except Exception as error:
                self.failure = repr(error)
                # the thread must survive a full disk; predictions fail by themselves meanwhile
                log.exception("the request log could not be written")
