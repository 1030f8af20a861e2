"""Runs one child process in the foreground, and serves its health, readiness and metrics over HTTP."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from prometheus_client import CollectorRegistry, Gauge

from mlops_assets.errors import Unreachable
from mlops_assets.resources.runtime.probes import Probes
from mlops_assets.waiting import retry_until_reachable

STOP_WITHIN = 8.0
"""Seconds that the child may take to end after SIGTERM; then it and its own children are killed."""
LOOK_EVERY = 0.1
PROBE_AGAIN = 1.0
"""Seconds for which a probe's result is kept, so that frequent requests do not load the child."""

log = logging.getLogger("mlops_assets.serve")
Probe = Callable[[float], str | None]
"""Takes the child's start (seconds since the epoch); returns None when it is ready, else what is missing."""


@dataclass(frozen=True)
class Part:
    """One part of the platform, as a process of its own.

    Attributes:
        name: `webserver`, `daemon` or `code`.
        command: arguments of this interpreter.
        folder: its working directory, the root of the repository.
        environment: added to this process's own.
        probe: returns what is missing until it is ready.
        needs: checks the servers that it cannot start without; while it raises Unreachable, the start waits.
    """

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    probe: Probe
    needs: Callable[[], object] = lambda: None


class Supervisor:
    """Runs a process until it ends, or until this process gets SIGTERM or SIGINT.

    Args:
        part: what to run.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.started = time.time()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping_since: float | None = None
        self._end, self._waiting_for = threading.Event(), "it has not been started yet"
        self._probed: tuple[float, str | None] = (0.0, "it has not been probed yet")
        self._probing = threading.Lock()
        self.registry = CollectorRegistry()
        labels = {"part": part.name}
        for name, text, value in (
            ("mlops_part_up", "1 while the process runs.", lambda: float(self.alive)),
            ("mlops_part_ready", "1 while it is ready.", lambda: float(self.missing() is None)),
            ("mlops_part_start_time_seconds", "Start of the process; a change means a restart.", lambda: self.started),
            ("mlops_part_uptime_seconds", "Seconds since the start.", lambda: time.time() - self.started),
        ):
            Gauge(name, text, list(labels), registry=self.registry).labels(**labels).set_function(value)

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._child is not None and self._child.poll() is None

    def missing(self) -> str | None:
        """Return what the child waits for; None when it is ready."""
        if self._child is None:
            return self._waiting_for
        if not self.alive:
            return "the process has ended"
        if self._stopping_since is not None:
            return "it is being stopped"
        with self._probing:
            at, found = self._probed
            if time.monotonic() - at >= PROBE_AGAIN:
                try:
                    found = self.part.probe(self.started)
                except Exception as error:  # noqa: BLE001 - after any error it is not ready
                    found = f"its probe failed: {error!r}"
                self._probed = (time.monotonic(), found)
            return found

    def run(self, host: str, port: int) -> int:
        """Run the child until it ends, and return its exit status; 128 + signal number when a signal ended it.

        Health, readiness and metrics are served meanwhile. SIGTERM and SIGINT are passed on to the child, which is
        killed when it does not end in time.
        """
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._pass_on)
        with Probes(host, port, self.missing, self.registry):
            retry_until_reachable(self.part.needs, self._log_wait, self._end)
            if self._end.is_set():
                return 128 + signal.SIGTERM
            self._child = subprocess.Popen(
                [sys.executable, *self.part.command],
                cwd=self.part.folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.part.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # a process group of its own: all of it can be killed, and the terminal's Ctrl-C arrives once
                start_new_session=True,
            )
            log.info(f"{self.part.name} started as process {self._child.pid}; its probes are on port {port}")
            copying = threading.Thread(target=_copy, args=(self.part.name, self._child.stdout), daemon=True)
            copying.start()
            if self._stopping_since is not None:
                self._child.terminate()
            status = self._wait(self._child)
            # the child's own children may keep its output open; they are not waited for
            copying.join(1.0)
        log.info(f"{self.part.name} ended", extra={"status": status})
        return status

    def _pass_on(self, _signum: int, _frame: FrameType | None) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        self._end.set()
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def _log_wait(self, error: Unreachable) -> None:
        self._waiting_for = str(error)
        log.warning(str(error))

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        while (status := child.poll()) is None:
            if self._stopping_since is not None and time.monotonic() - self._stopping_since > STOP_WITHIN:
                log.warning(f"{self.part.name} did not end within {STOP_WITHIN:g} s after SIGTERM and is killed")
                os.killpg(child.pid, signal.SIGKILL)
                status = child.wait()
                break
            time.sleep(LOOK_EVERY)
        # by the convention of shells, a signal gives 128 + its number
        return status if status >= 0 else 128 - status


def _copy(part: str, output: IO[bytes] | None) -> None:
    """Copy the child's output, line by line; a line that is not a JSON object becomes the message of a log record."""
    own = logging.getLogger(f"mlops_assets.serve.{part}")
    for line in output or ():
        text = line.decode(errors="replace").rstrip()
        if _is_record(text):
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        elif text:
            own.info(text)


def _is_record(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
