"""One child process in the foreground, with addresses for its health, readiness and metrics beside it."""

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
"""Seconds that the child may take to end by itself; then it and all that it started are killed."""
LOOK_EVERY = 0.1
PROBE_AGAIN = 1.0
"""Seconds for which a probe's result stands, so that nobody can load the child by asking often."""

log = logging.getLogger("mlops_assets.serve")
Probe = Callable[[float], str | None]
"""Takes when the child started (seconds since the epoch); None: it is ready, else what is missing, in words."""


@dataclass(frozen=True)
class Part:
    """One part of the platform, as a process of its own.

    Attributes:
        name: `webserver`, `daemon` or `code`.
        command: arguments of this interpreter.
        folder: its working directory, the root of the repository.
        environment: added to this process's own.
        probe: whether it is ready.
        needs: asks the servers that it cannot start without; Unreachable: they are waited for.
    """

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    probe: Probe
    needs: Callable[[], object] = lambda: None


class Supervisor:
    """Runs a part until it ends, or until this process is told to end.

    Args:
        part: the part.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.started = time.time()
        self._child: subprocess.Popen[bytes] | None = None
        self._told: float | None = None
        self._end, self._waits = threading.Event(), "it was not started yet"
        self._probed: tuple[float, str | None] = (0.0, "it has not been asked yet")
        self._probing = threading.Lock()
        self.registry = CollectorRegistry()
        labels = {"part": part.name}
        for name, text, value in (
            ("mlops_part_up", "1 while the process lives.", lambda: float(self.alive)),
            ("mlops_part_ready", "1 while it is ready.", lambda: float(self.missing() is None)),
            ("mlops_part_start_time_seconds", "When it started; a change is a restart.", lambda: self.started),
            ("mlops_part_uptime_seconds", "Since then.", lambda: time.time() - self.started),
        ):
            Gauge(name, text, list(labels), registry=self.registry).labels(**labels).set_function(value)

    @property
    def alive(self) -> bool:
        """Whether the child lives."""
        return self._child is not None and self._child.poll() is None

    def missing(self) -> str | None:
        """What it waits for, in words; None when it is ready."""
        if self._child is None:
            return self._waits
        if not self.alive:
            return "the process does not live"
        if self._told is not None:
            return "it was told to end"
        with self._probing:
            at, found = self._probed
            if time.monotonic() - at >= PROBE_AGAIN:
                try:
                    found = self.part.probe(self.started)
                except Exception as error:  # noqa: BLE001 - whatever it was, it is not ready
                    found = f"it cannot be asked: {error!r}"
                self._probed = (time.monotonic(), found)
            return found

    def run(self, host: str, port: int) -> int:
        """Run the child to its end, answering on the health port meanwhile; the child's exit status.

        SIGTERM and SIGINT are handed on; a child that does not end in time is killed.
        """
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._hand_on)
        with Probes(host, port, self.missing, self.registry):
            retry_until_reachable(self.part.needs, self._wait_on, self._end)
            if self._end.is_set():
                return 128 + signal.SIGTERM
            self._child = subprocess.Popen(
                [sys.executable, *self.part.command],
                cwd=self.part.folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.part.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # a group of its own, so that all of it can be killed, and the terminal's Ctrl-C comes once
                start_new_session=True,
            )
            log.info(f"{self.part.name} started as process {self._child.pid}; its health is on port {port}")
            copying = threading.Thread(target=_copy, args=(self.part.name, self._child.stdout), daemon=True)
            copying.start()
            if self._told is not None:
                self._child.terminate()
            status = self._wait(self._child)
            # what the child started may hold its output open, and is not waited for
            copying.join(1.0)
        log.info(f"{self.part.name} ended", extra={"status": status})
        return status

    def _hand_on(self, signum: int, _: FrameType | None) -> None:
        if self._told is None:
            self._told = time.monotonic()
        self._end.set()
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    def _wait_on(self, error: Unreachable) -> None:
        self._waits = str(error)
        log.warning(str(error))

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        while (status := child.poll()) is None:
            if self._told is not None and time.monotonic() - self._told > STOP_WITHIN:
                log.warning(f"{self.part.name} did not end within {STOP_WITHIN:g} s and is killed")
                os.killpg(child.pid, signal.SIGKILL)
                status = child.wait()
                break
            time.sleep(LOOK_EVERY)
        # as a shell says it
        return status if status >= 0 else 128 - status


def _copy(part: str, output: IO[bytes] | None) -> None:
    """Pass on what a child writes, so that each line is a JSON object: warnings and tracebacks become one a line."""
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
