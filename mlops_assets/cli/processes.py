"""Processes that outlive the command that started them; `down` ends them by their recorded pid and start time."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from pydantic import ValidationError

from mlops_assets.errors import PlatformError
from mlops_assets.files import write_text
from mlops_assets.resources.runtime.processes import RecordedProcess, end, folder_identity
from mlops_assets.resources.settings import Settings

END_WITHIN = 10.0
logger = logging.getLogger("mlops_assets.cli")


class StartedRecord(RecordedProcess):
    """The content of `<state>/pids/command-<pid>.json`: a process that a command started."""

    name: str
    url: str


@dataclass(frozen=True)
class Started:
    """A process that this command started.

    Attributes:
        name: what it is.
        process: its handle.
        log: where its output goes.
        url: where it listens.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    url: str

    def wait_until_ready(self, path: str, within: float = 120.0) -> None:
        """Return when it answers.

        Raises:
            PlatformError: when it ends, or does not answer in time; with the end of its log.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}{path}", timeout=2.0, trust_env=False).is_success:
                    return
            except httpx.TransportError:
                # it does not listen yet
                time.sleep(0.2)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise PlatformError("-", self.name, f"it does not answer at {self.url}{path}: {tail}", f"see {self.log}")


def free_port(wanted: int) -> int:
    """Return the wanted port if it is free on loopback, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise PlatformError(
        "-", f"port {wanted}", "no port is free on loopback", "stop some of the processes that listen there"
    )


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment that tells a child process the repository and the state folder."""
    root = {} if settings.root is None else {"MLOPS_ASSETS_ROOT": str(settings.root)}
    return {**root, "MLOPS_ASSETS_HOME": str(settings.home.absolute()), "DO_NOT_TRACK": "true"}


def start(
    name: str, command: Sequence[str], url: str, settings: Settings, environment: Mapping[str, str] | None = None
) -> Started:
    """Start a Python process in a session of its own and record it for `down`.

    Args:
        name: what it is, for people; its log is `logs/<name>.log` in the state folder.
        command: a module of this interpreter, and its arguments.
        url: where it will listen.
        settings: the repository, which becomes its working directory, and the state folder.
        environment: added to this process's own.
    """
    log, pids = settings.home.absolute() / "logs" / f"{name.lower()}.log", settings.pids.absolute()
    log.parent.mkdir(parents=True, exist_ok=True)
    pids.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=settings.root,
            env={**os.environ, **environment_of(settings), **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    record = StartedRecord(
        name=name,
        pid=process.pid,
        started=psutil.Process(process.pid).create_time(),
        url=url,
        recorded_in=folder_identity(pids),
    )
    write_text(pids / f"command-{process.pid}.json", record.model_dump_json())
    return Started(name, process, log, url)


def end_recorded(pids: Path) -> list[str]:
    """End all recorded processes and their children; return the names of those that still ran."""
    ended = []
    for path in sorted(pids.glob("command-*.json")):
        try:
            record = StartedRecord.model_validate_json(path.read_text())
            if _end(record, pids):
                ended.append(record.name)
        except ValidationError:
            logger.warning(f"{path} cannot be read and is removed; the process that it recorded may still run")
        path.unlink(missing_ok=True)
    return ended


def _end(record: StartedRecord, pids: Path) -> bool:
    process = record.find_from(pids)
    if process is None:
        return False
    try:
        children = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return False
    # a scoring service outlives Dagster on purpose; `down` ends it by its own record
    end(process, END_WITHIN, also=[each for each in children if "mlops_assets.serving.app" not in _words(each)])
    return True


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
