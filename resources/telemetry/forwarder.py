"""The forwarder: a process that copies prediction logs and the ledger into InfluxDB, with at-least-once delivery.

Start one per state folder with `python -m mlops_assets.resources.telemetry.forwarder`. The prediction log is written
first; only readers that want to see the copy wait for InfluxDB. Points are written in the order of the logs, and the
position is stored after them. A forwarder that was killed writes some points a second time, which changes nothing.

A failure that may pass is retried with exponential back-off. A permanent refusal (a wrong token) ends the process with
a message. If a field has another type in InfluxDB, only the log of that field is paused, until the conflict is
resolved; the process's log, `/readyz` and `/metrics` report it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import prometheus_client as prometheus

from mlops_assets.errors import InfluxUnreachable, LedgerError, PlatformError, Unreachable
from mlops_assets.logs import log_to_stdout
from mlops_assets.resources.runtime.probes import Probes
from mlops_assets.resources.settings import Settings
from mlops_assets.resources.telemetry.forwarding import ForwardingSource, ForwardingSources, Key
from mlops_assets.resources.telemetry.influx import Expired, Server, WrongToken, server_of
from mlops_assets.resources.telemetry.points import line
from mlops_assets.waiting import LONGEST_PAUSE, pause_after, retry_until_reachable

if TYPE_CHECKING:
    from influxdb_client.client.influxdb_client import InfluxDBClient

BATCH = 1000
"""Records that are read at once, and held in memory."""
LINES = 5000
"""Points per request, as InfluxDB recommends."""
POLL_INTERVAL = 0.2
"""Seconds between two reads of logs that had no new records."""
SEARCH_INTERVAL = 5.0
"""Seconds between two searches for new logs."""
REPORT_INTERVAL = 10.0
"""Seconds between two reports of the backlog."""
END_WITHIN = 8.0
"""Seconds after SIGTERM at which the process exits, even if a request has not ended."""
NICE = 10
"""Its CPU priority is lower than that of the services on the same machine."""

log = logging.getLogger("mlops_assets.resources.telemetry.forwarder")


class Metrics:
    """The Prometheus metrics of `/metrics`."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self.backlog = prometheus.Gauge(
            "mlops_forwarder_backlog", "Records not forwarded yet.", ["project", "source"], registry=self.registry
        )
        self.written = prometheus.Counter(
            "mlops_forwarder_records", "Records forwarded.", ["project", "source"], registry=self.registry
        )
        self.points = prometheus.Counter("mlops_forwarder_points", "Points written.", registry=self.registry)
        self.failed = prometheus.Counter("mlops_forwarder_failures", "Failed writes.", registry=self.registry)
        self.expired = prometheus.Counter(
            "mlops_forwarder_expired", "Writes with points older than the bucket's retention.",
            registry=self.registry,
        )  # fmt: skip


@dataclass
class State:
    """Whether the forwarder works, for `/readyz`."""

    ready: bool = False
    """Whether InfluxDB and the ledger answer."""
    unreachable: str = "InfluxDB has not answered yet"
    """Why it is not ready, if it is not."""
    held: dict[Key, str] = field(default_factory=dict)
    """The error of each log whose records InfluxDB refuses."""

    def problem(self) -> str | None:
        """Return what is wrong; None when nothing is."""
        if not self.ready:
            return self.unreachable
        return "; ".join(sorted(set(self.held.values()))) or None


class Pauses:
    """The pauses between attempts, by what is tried: they double with each failure in a row."""

    def __init__(self) -> None:
        self._failures: Counter[object] = Counter()
        self._until: dict[object, float] = {}

    def next(self, key: object) -> float:
        """Begin the next pause, and return its length in seconds."""
        self._failures[key] += 1
        pause = pause_after(self._failures[key], timedelta(seconds=POLL_INTERVAL), LONGEST_PAUSE).total_seconds()
        self._until[key] = time.monotonic() + pause
        return pause

    def waits(self, key: object) -> bool:
        """Return whether a pause has not ended yet."""
        return time.monotonic() < self._until.get(key, 0.0)

    def reset(self, key: object) -> None:
        """Forget the failures after a success."""
        self._failures.pop(key, None)
        self._until.pop(key, None)


class Forwarder:
    """Copies every log of a state folder into InfluxDB.

    Args:
        server: the InfluxDB server and bucket.
        sources: returns the existing logs by project and name; called every `SEARCH_INTERVAL` seconds.
        stop: ends the forwarding when it is set.
    """

    def __init__(
        self, server: Server, sources: Callable[[], Mapping[Key, ForwardingSource]], stop: threading.Event
    ) -> None:
        self.server, self.find, self.stop = server, sources, stop
        self.metrics, self.state, self._pauses = Metrics(), State(), Pauses()
        self._written: dict[Key, int] = {}
        self._since: dict[Key, float] = {}

    def run(self) -> None:
        """Forward until `stop` is set.

        Raises:
            WrongToken: InfluxDB refuses the token, or has no such bucket.
            LedgerError: the ledger's database refuses.
        """
        while not self.stop.is_set():
            try:
                with self.server.client() as client:
                    self._session(client)
            except Unreachable as error:
                self.report_unreachable(error)
                self.stop.wait(self._pauses.next("server"))

    def report_unreachable(self, error: Unreachable) -> None:
        """Record that a server does not answer, in metrics, state and log."""
        self.metrics.failed.inc()
        self.state.ready, self.state.unreachable = False, str(error)
        log.warning(str(error))

    def _session(self, client: InfluxDBClient) -> None:
        """Forward over one connection, until `stop` is set or a server does not answer."""
        found, searched, reported = self.find(), time.monotonic(), 0.0
        while not self.stop.is_set():
            if time.monotonic() - searched > SEARCH_INTERVAL:
                found, searched = {**self.find(), **found}, time.monotonic()
            busy = [key for key, source in found.items() if self._forward(client, key, source)]
            if time.monotonic() - reported > REPORT_INTERVAL:
                self._report_backlog(client, found)
                reported = time.monotonic()
            self.state.ready = True
            self._pauses.reset("server")
            if not busy:
                self.stop.wait(POLL_INTERVAL)

    def _forward(self, client: InfluxDBClient, key: Key, source: ForwardingSource) -> bool:
        """Forward the next batch of a log, and return whether there was one and it was written."""
        if self._pauses.waits(key):
            return False
        try:
            batch = source.batch(BATCH)
            if not batch.records:
                return False
            self._since.setdefault(key, time.monotonic())
            for start in range(0, len(batch.lines), LINES):
                self._write(client, batch.lines[start : start + LINES])
        except (InfluxUnreachable, LedgerError, WrongToken):  # no log can be forwarded without these
            raise
        except PlatformError as error:  # concerns one log: its points are refused, or its labels cannot be read
            self.metrics.failed.inc()
            self.state.held[key] = str(error)
            self._pauses.next(key)
            log.error(str(error), extra={"project": key[0], "source": key[1]})
            return False
        source.commit(batch.position)
        self.state.held.pop(key, None)
        self._pauses.reset(key)
        self.metrics.written.labels(*key).inc(batch.records)
        self.metrics.points.inc(len(batch.lines))
        self._written[key] = self._written.get(key, 0) + batch.records
        return True

    def _write(self, client: InfluxDBClient, lines: list[str]) -> None:
        try:
            self.server.write(client, lines)
        except Expired as error:
            self.metrics.expired.inc()
            log.warning(str(error))

    def _report_backlog(self, client: InfluxDBClient, sources: Mapping[Key, ForwardingSource]) -> None:
        """Write the backlog of each log to the metrics and to InfluxDB."""
        lines, now = [], time.time_ns()
        for (project, name), source in sources.items():
            backlog = source.backlog()
            self.metrics.backlog.labels(project, name).set(backlog)
            if not backlog:
                self._since.pop((project, name), None)
            oldest = time.monotonic() - self._since.get((project, name), time.monotonic())
            fields: dict[str, float | int | str | bool | None] = {
                "backlog": backlog,
                "written": self._written.get((project, name), 0),
                "oldest_s": float(oldest),
            }
            lines.append(line("forwarder", {"project": project, "source": name}, fields, now))
        if lines:
            self._write(client, lines)


def main() -> int:
    """Forward until SIGTERM or SIGINT. Return exit code 1 when InfluxDB or the ledger refuses permanently."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address of /healthz, /readyz and /metrics")
    parser.add_argument("--port", type=int, default=9110)
    arguments = parser.parse_args()
    log_to_stdout()
    settings, stop = Settings(), threading.Event()
    server = server_of(settings)
    if server is None:
        log.error("no InfluxDB is configured: set MLOPS_ASSETS_INFLUX_URL")
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end_soon(stop))
    os.nice(NICE)
    forwarder = Forwarder(server, ForwardingSources(settings), stop)
    with Probes(arguments.host, arguments.port, forwarder.state.problem, forwarder.metrics.registry):
        try:
            log.info(f"forwarding to {server.place}")
            check = partial(server.check, settings.influx_retention)
            retry_until_reachable(check, forwarder.report_unreachable, stop)
            forwarder.run()
        except PlatformError as error:
            log.error(str(error))
            return 1
    log.info("ended")
    return 0


def _end_soon(stop: threading.Event) -> None:
    """Stop forwarding, and exit after `END_WITHIN` seconds. An unconfirmed request is repeated after the next start."""
    stop.set()
    ending = threading.Timer(END_WITHIN, os._exit, (0,))
    ending.daemon = True
    ending.start()


if __name__ == "__main__":
    sys.exit(main())
