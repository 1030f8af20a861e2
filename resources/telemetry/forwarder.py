"""The forwarder: brings the services' answer logs and the ledger into InfluxDB, at least once.

`python -m mlops_assets.resources.telemetry.forwarder`, one process for a state folder. The service's own log stays the first write; nothing
waits for InfluxDB but readers that want to see what it brought. Points are written in the order of the logs, and only
then is the place kept up to which they are there: killed at any moment, the forwarder writes some points again, which
changes nothing. What InfluxDB refuses for a time is tried again with growing pauses; what it refuses for good (a wrong
token) ends the process in words; a field of another type holds its log back, which the log, `/readyz` and `/metrics`
say, until somebody mends it.
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
from typing import TYPE_CHECKING

import prometheus_client as prometheus

from mlops_assets.errors import InfluxUnreachable, LedgerError, PlatformError, Unreachable
from mlops_assets.logs import log_to_stdout
from mlops_assets.resources.runtime.probes import Probes
from mlops_assets.resources.settings import Settings
from mlops_assets.resources.telemetry.forwarding import Key, Logs, Source
from mlops_assets.resources.telemetry.influx import Expired, Server, WrongToken, server_of
from mlops_assets.resources.telemetry.points import line
from mlops_assets.waiting import LONGEST_PAUSE, pause_after, retry_until_reachable

if TYPE_CHECKING:
    from influxdb_client.client.influxdb_client import InfluxDBClient

BATCH = 1000
"""Records read at once: what the forwarder holds in memory."""
LINES = 5000
"""Points of one request; what InfluxDB recommends."""
LOOK_EVERY = 0.2
"""Seconds between two looks at logs that had nothing new."""
LOOK_FOR_PROJECTS = 5.0
ACCOUNT_EVERY = 10.0
"""Seconds between two points that say how far behind it is."""
END_WITHIN = 8.0
"""Seconds from SIGTERM to the end, whatever it waits for."""
NICE = 10
"""It gives way to the services on its machine."""

log = logging.getLogger("mlops_assets.resources.telemetry.forwarder")


class Metrics:
    """What `/metrics` says."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self.backlog = prometheus.Gauge(
            "mlops_forwarder_backlog", "Records not in InfluxDB.", ["project", "source"], registry=self.registry
        )
        self.written = prometheus.Counter(
            "mlops_forwarder_records", "Records written.", ["project", "source"], registry=self.registry
        )
        self.points = prometheus.Counter("mlops_forwarder_points", "Points written.", registry=self.registry)
        self.failed = prometheus.Counter("mlops_forwarder_failures", "Writes that failed.", registry=self.registry)
        self.expired = prometheus.Counter(
            "mlops_forwarder_expired", "Writes of which some points were older than the bucket keeps.",
            registry=self.registry,
        )  # fmt: skip


@dataclass
class State:
    """How the forwarder is doing."""

    ready: bool = False
    """InfluxDB and the ledger answer."""
    unreachable: str = "InfluxDB was not reached yet"
    """Why it is not ready."""
    held: dict[Key, str] = field(default_factory=dict)
    """Why each log that InfluxDB refuses is held back."""

    def problem(self) -> str | None:
        """Why all is not well; None when it is."""
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
        pause = pause_after(self._failures[key], timedelta(seconds=LOOK_EVERY), LONGEST_PAUSE).total_seconds()
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
    """Brings every log of a state folder into InfluxDB.

    Args:
        server: the InfluxDB.
        sources: finds the logs there are, by project and name; asked again now and then.
        stop: ends it.
    """

    def __init__(self, server: Server, sources: Callable[[], Mapping[Key, Source]], stop: threading.Event) -> None:
        self.server, self.find, self.stop = server, sources, stop
        self.metrics, self.state, self._pauses = Metrics(), State(), Pauses()
        self._written: dict[Key, int] = {}
        self._since: dict[Key, float] = {}

    def run(self) -> None:
        """Forward until told to stop.

        Raises:
            WrongToken, LedgerError: InfluxDB or the ledger's database refuses for good.
        """
        while not self.stop.is_set():
            try:
                with self.server.client() as client:
                    self._session(client)
            except Unreachable as error:
                self.away(error)
                self.stop.wait(self._pauses.next("server"))

    def away(self, error: Unreachable) -> None:
        """Say that a server does not answer."""
        self.metrics.failed.inc()
        self.state.ready, self.state.unreachable = False, str(error)
        log.warning(str(error))

    def _session(self, client: InfluxDBClient) -> None:
        """Forward over one connection."""
        found, looked, accounted = self.find(), time.monotonic(), 0.0
        while not self.stop.is_set():
            if time.monotonic() - looked > LOOK_FOR_PROJECTS:
                found, looked = {**self.find(), **found}, time.monotonic()
            busy = [key for key, source in found.items() if self._forward(client, key, source)]
            if time.monotonic() - accounted > ACCOUNT_EVERY:
                self._account(client, found)
                accounted = time.monotonic()
            self.state.ready = True
            self._pauses.reset("server")
            if not busy:
                self.stop.wait(LOOK_EVERY)

    def _forward(self, client: InfluxDBClient, key: Key, source: Source) -> bool:
        """Bring one batch; whether there was one, and it is there now."""
        if self._pauses.waits(key):
            return False
        try:
            batch = source.batch(BATCH)
            if not batch.records:
                return False
            self._since.setdefault(key, time.monotonic())
            for start in range(0, len(batch.lines), LINES):
                self._write(client, batch.lines[start : start + LINES])
        except (InfluxUnreachable, LedgerError, WrongToken):  # nothing can go on without these
            raise
        except PlatformError as error:  # what one log holds is refused, or its labels cannot be read: the others go on
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

    def _account(self, client: InfluxDBClient, sources: Mapping[Key, Source]) -> None:
        """Say how far behind each log is, here and in InfluxDB."""
        lines, now = [], time.time_ns()
        for (project, name), source in sources.items():
            backlog = source.backlog()
            self.metrics.backlog.labels(project, name).set(backlog)
            if not backlog:
                self._since.pop((project, name), None)
            waits = time.monotonic() - self._since.get((project, name), time.monotonic())
            fields: dict[str, float | int | str | bool | None] = {
                "backlog": backlog,
                "written": self._written.get((project, name), 0),
                "oldest_s": float(waits),
            }
            lines.append(line("forwarder", {"project": project, "source": name}, fields, now))
        if lines:
            self._write(client, lines)


def main() -> int:
    """Forward until told to end (SIGTERM); status 1 when InfluxDB or the ledger refuses for good."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where /healthz, /readyz and /metrics are")
    parser.add_argument("--port", type=int, default=9110)
    arguments = parser.parse_args()
    log_to_stdout()
    settings, stop = Settings(), threading.Event()
    server = server_of(settings)
    if server is None:
        log.error("there is nowhere to forward to: set MLOPS_ASSETS_INFLUX_URL")
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _told_to_end(stop))
    os.nice(NICE)
    forwarder = Forwarder(server, Logs(settings), stop)
    with Probes(arguments.host, arguments.port, forwarder.state.problem, forwarder.metrics.registry):
        try:
            log.info(f"forwarding to {server.place}")
            _wait_for(server, settings, forwarder, stop)
            forwarder.run()
        except PlatformError as error:
            log.error(str(error))
            return 1
    log.info("ended")
    return 0


def _told_to_end(stop: threading.Event) -> None:
    """End soon; a request that hangs is not waited for: what InfluxDB has not confirmed is written again next time."""
    stop.set()
    ending = threading.Timer(END_WITHIN, os._exit, (0,))
    ending.daemon = True
    ending.start()


def _wait_for(server: Server, settings: Settings, forwarder: Forwarder, stop: threading.Event) -> None:
    """Check bucket and token once, as soon as the server answers."""
    retry_until_reachable(lambda: server.check(settings.influx_retention), forwarder.away, stop)


if __name__ == "__main__":
    sys.exit(main())
