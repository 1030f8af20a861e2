"""A project's scoring service as a process of this machine: started once, found again, ended. Knows no Dagster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from filelock import FileLock
from pydantic import ValidationError

from mlops_assets.files import write_text
from mlops_assets.resources.scoring.config import (
    CONFIG,
    LOG,
    PROCESS,
    STARTING,
    ModelRef,
    ProcessRecord,
    ServiceConfig,
    fingerprint,
)
from mlops_assets.resources.scoring.service import START_WITHIN, ScoringService
from mlops_assets.resources.scoring.service_process import CHILDREN, SERVICE, forget_ended, process_of, terminate
from mlops_assets.spec.project import ProjectSpec

END_WITHIN = 12.0
"""Seconds that the service may take to end by itself, its own limit and a little; then it is killed."""
LOOK_EVERY = 0.05
LOG_TAIL = 2000
MAX_LOG = 10 * 2**20
"""Bytes from which a service's log is moved aside at the next start."""


class EndpointProcess(ScoringService):
    """The scoring service of a project on this machine.

    Args:
        spec: the project.
        state: the state folder.
        host: where it listens.
        client_token_file: holds the token that clients must show; None: none is asked for.
    """

    def __init__(
        self, spec: ProjectSpec, state: Path, host: str = "127.0.0.1", client_token_file: Path | None = None
    ) -> None:
        super().__init__(spec, state, client_token_file)
        self.host = host

    def __enter__(self) -> EndpointProcess:
        return self

    @property
    def url(self) -> str | None:
        """Where it listens; None while it does not run."""
        found = self.record()
        return None if found is None else found.url

    @property
    def log_place(self) -> str:
        """Its log file."""
        return str(self.folder / LOG)

    def record(self) -> ProcessRecord | None:
        """The service's process, as it was recorded, if it lives; None otherwise."""
        found = self._last_record()
        return found if found is not None and process_of(found) is not None else None

    def _last_record(self) -> ProcessRecord | None:
        path = self.folder / PROCESS
        if not path.exists():
            return None
        try:
            return ProcessRecord.model_validate_json(path.read_text())
        except ValidationError as error:
            raise self._error(
                str(path), f"it does not say which process serves: {error}", "end that process and remove the file"
            ) from error

    def ensure_running(
        self, serve: ModelRef | None = None, shadow: ModelRef | None = None, within: float = START_WITHIN
    ) -> ProcessRecord:
        """As `ScoringService.ensure_running`; of several callers one starts it."""
        deadline = time.monotonic() + within
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / STARTING, timeout=within):
            running, config = self.record(), self._config(serve, shadow)
            if running is not None and running.settings != fingerprint(config):
                self._end(running)
                running = None
            child = None if running is not None else self._start(config)
            return self._ready(child, deadline)

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

    def _start(self, config: ServiceConfig) -> subprocess.Popen[bytes]:
        write_text(self.folder / CONFIG, config.model_dump_json(indent=1))
        log = self.folder / LOG
        if log.exists() and log.stat().st_size > MAX_LOG:
            log.replace(log.with_suffix(".1.log"))
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", SERVICE, "--config", str(self.folder / CONFIG)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # it outlives the run, and the terminal's Ctrl-C is not for it
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        forget_ended()
        CHILDREN[child.pid] = child
        return child

    def _ready(self, child: subprocess.Popen[bytes] | None, deadline: float) -> ProcessRecord:
        """Wait until the service answers, be it the child or one that somebody else started."""
        while time.monotonic() < deadline:
            found = self.record()
            if found is not None and self._answers(found.url):
                return found
            if found is None and child is not None and child.poll() is not None:
                forget_ended()
                raise self._error(
                    "start of the scoring service",
                    f"it ended with status {child.returncode}; its log ends:\n{self._log_tail()}",
                    f"mend what the log says ({self.folder / LOG}) and run this again",
                )
            if found is None and child is None:
                raise self._error("scoring service", f"it died; its log ends:\n{self._log_tail()}", "run this again")
            time.sleep(LOOK_EVERY)
        if child is not None and child.poll() is None:
            terminate(psutil.Process(child.pid), END_WITHIN)
            forget_ended()
        raise self._error(
            "start of the scoring service",
            f"it does not answer in time; its log ends:\n{self._log_tail()}",
            "look whether the machine is overloaded, and run this again",
        )

    def _log_tail(self) -> str:
        path = self.folder / LOG
        if not path.exists():
            return "(empty)"
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL))
            return file.read().decode(errors="replace").strip()

    def stop(self) -> bool:
        """As `ScoringService.stop`: its process ends, gently first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / STARTING, timeout=START_WITHIN):
            running = self.record()
            if running is not None:
                self._end(running)
            return running is not None

    def _end(self, running: ProcessRecord) -> None:
        process = process_of(running)
        if process is not None and not terminate(process, END_WITHIN):
            raise self._error(f"process {running.pid}", "it was killed and is still there", "end it by hand")
        forget_ended()
