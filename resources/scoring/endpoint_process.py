"""A project's scoring service as a process of this machine, which later processes find by its recorded process id."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from filelock import FileLock
from pydantic import ValidationError

from mlops_assets.files import write_text
from mlops_assets.resources.runtime import processes
from mlops_assets.resources.scoring.config import (
    CONFIG,
    LOG,
    PROCESS,
    STARTING,
    ModelRef,
    ServiceConfig,
    ServiceProcess,
    fingerprint,
)
from mlops_assets.resources.scoring.deployed import StartVersions
from mlops_assets.resources.scoring.endpoint import START_WITHIN, Endpoint, no_versions
from mlops_assets.spec.project import ProjectSpec

SERVICE = "mlops_assets.serving.app"
"""The module that a service runs."""
CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Services that this process started, by pid. They may outlive it; until then it must collect their exit status."""
END_WITHIN = 12.0
"""Seconds that a service may take to end by itself, which is longer than its own limit. Then it is killed."""
CHECK_EVERY = 0.05
"""Seconds between two checks whether a service that was started responds."""
LOG_TAIL = 2000
"""Bytes of the log's end that an error shows."""
MAX_LOG = 10 * 2**20
"""Bytes from which a service's log is renamed at the next start."""


def service_command(config: Path) -> list[str]:
    """Return the command that runs a scoring service with a configuration file."""
    return [sys.executable, "-m", SERVICE, "--config", str(config)]


def _collect_ended_children() -> None:
    for pid, child in list(CHILDREN.items()):
        if child.poll() is not None:
            del CHILDREN[pid]


def _find(record: ServiceProcess, folder: Path) -> psutil.Process | None:
    """Return the recorded process if it still runs the scoring service of this folder."""
    process = record.find_from(folder)
    try:
        return process if process is not None and SERVICE in process.cmdline() else None
    except psutil.NoSuchProcess:
        return None


class EndpointProcess(Endpoint):
    """The scoring service of a project on this machine.

    Args:
        spec: the project.
        state: the folder with a folder of local state per project.
        host: the address that the service listens on.
        client_token_file: file with the token that clients must send; None: none is required.
        deployed: returns the versions that the service starts with.
    """

    def __init__(
        self,
        spec: ProjectSpec,
        state: Path,
        host: str = "127.0.0.1",
        client_token_file: Path | None = None,
        deployed: Callable[[], StartVersions] = no_versions,
    ) -> None:
        super().__init__(spec, state, client_token_file, deployed)
        self.host = host

    @property
    def url(self) -> str | None:
        """The service's address; None while it does not run."""
        found = self.record()
        return None if found is None else found.url

    @property
    def log_place(self) -> str:
        """The path of the service's log."""
        return str(self.folder / LOG)

    def record(self) -> ServiceProcess | None:
        """Return the record of the service's process; None when that process has ended."""
        found = self._last_record()
        return found if found is not None and _find(found, self.folder) is not None else None

    def _last_record(self) -> ServiceProcess | None:
        path = self.folder / PROCESS
        if not path.exists():
            return None
        try:
            return ServiceProcess.model_validate_json(path.read_text())
        except ValidationError as error:
            raise self._error(
                str(path), f"the file does not name a process: {error}", "end the service's process, remove the file"
            ) from error

    def start(
        self, serve: ModelRef | None = None, shadow: ModelRef | None = None, within: float = START_WITHIN
    ) -> ServiceProcess:
        """Start the service, unless it runs with the same settings, and return its process when it responds.

        Of several callers at the same time one starts it.

        Args:
            serve: the version that serves from the start; None: no version.
            shadow: the version that predicts in the shadow from the start; None: no version.
            within: seconds to wait at most.

        Raises:
            EndpointError: the service ends or takes too long; the error has the end of its log.
        """
        deadline = time.monotonic() + within
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / STARTING, timeout=within):
            running, config = self.record(), self._config(serve, shadow)
            if running is not None and running.settings != fingerprint(config):
                self._end(running)
                running = None
            child = None if running is not None else self._start_process(config)
            return self._wait_until_ready(child, deadline)

    def _config(self, serve: ModelRef | None, shadow: ModelRef | None) -> ServiceConfig:
        last = self._last_record()
        return ServiceConfig(
            spec=self.spec,
            state=self.state,
            serve=serve,
            shadow=shadow,
            host=self.host,
            # clients keep the address across restarts
            port=0 if last is None else last.port,
            client_token_file=self.client_token_file,
        )

    def _start_process(self, config: ServiceConfig) -> subprocess.Popen[bytes]:
        write_text(self.folder / CONFIG, config.model_dump_json(indent=1))
        log = self.folder / LOG
        if log.exists() and log.stat().st_size > MAX_LOG:
            log.replace(log.with_suffix(".1.log"))
        with log.open("ab") as output:
            child = subprocess.Popen(
                service_command(self.folder / CONFIG),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # the service outlives the run that starts it, and does not get the terminal's Ctrl-C
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        _collect_ended_children()
        CHILDREN[child.pid] = child
        return child

    def _wait_until_ready(self, child: subprocess.Popen[bytes] | None, deadline: float) -> ServiceProcess:
        """Wait until the service responds: the child, or one that another process started."""
        while time.monotonic() < deadline:
            found = self.record()
            if found is not None and self._responds(found.url):
                return found
            if found is None and child is not None and child.poll() is not None:
                _collect_ended_children()
                raise self._error(
                    "start of the scoring service",
                    f"it ended with status {child.returncode}; its log ends:\n{self._log_tail()}",
                    f"fix what the log reports ({self.folder / LOG}) and run this again",
                )
            if found is None and child is None:
                raise self._error("scoring service", f"it ended; its log ends:\n{self._log_tail()}", "run this again")
            time.sleep(CHECK_EVERY)
        if child is not None and child.poll() is None:
            processes.end(psutil.Process(child.pid), END_WITHIN)
            _collect_ended_children()
        raise self._error(
            "start of the scoring service",
            f"it does not respond in time; its log ends:\n{self._log_tail()}",
            "check whether the machine is overloaded, and run this again",
        )

    def _log_tail(self) -> str:
        path = self.folder / LOG
        if not path.exists():
            return "(empty)"
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL))
            return file.read().decode(errors="replace").strip()

    def stop(self) -> bool:
        """Stop the service's process; it finishes requests in flight and the shadow's backlog first.

        Returns:
            Whether it ran.

        Raises:
            EndpointError: it was killed and has not ended.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / STARTING, timeout=START_WITHIN):
            running = self.record()
            if running is not None:
                self._end(running)
            return running is not None

    def _end(self, running: ServiceProcess) -> None:
        process = _find(running, self.folder)
        if process is not None and not processes.end(process, END_WITHIN):
            raise self._error(f"process {running.pid}", "it was killed and has not ended", "end it by hand")
        _collect_ended_children()
