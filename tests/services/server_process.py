"""A server that a test runs as a process: its start and end, and functions that wait."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self

import httpx
import psutil

HOST = "127.0.0.1"


class Server(ABC):
    """A process that serves on a port of this machine.

    Args:
        folder: the folder of its data and its log; it is created when it does not exist.
    """

    start_within = 30.0
    """Seconds within which it must answer after its start."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    # What a subclass defines

    @property
    def url(self) -> str:
        """The server's address, without a password."""
        return f"http://{HOST}:{self.port}"

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether the server is ready."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Return the environment variables with which the platform uses the server."""

    def own_environment(self) -> dict[str, str]:
        """Return the environment variables of the server itself."""
        return {}

    def prepare(self) -> None:  # noqa: B027 - most have nothing to do here
        """Prepare the first start."""

    def set_up(self) -> None:  # noqa: B027 - most have nothing to do here
        """Create what tests need in the started server."""

    def save(self) -> None:  # noqa: B027 - most have nothing to do here
        """Save what the server would lose, before it is stopped or killed."""

    # Start and end

    def start(self) -> Self:
        """Start the server, and return when it answers."""
        if self._process is not None:
            raise RuntimeError(f"{type(self).__name__} on port {self.port} runs already")
        if not self.log.exists():
            self.prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd="/",
                env={**os.environ, **self.own_environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._ready, self.start_within)
            self.set_up()
        except BaseException:
            self._end(psutil.Process.kill)
            raise
        return self

    def stop(self) -> None:
        """Send SIGTERM, and return when the server has ended."""
        self.save()
        self._end(psutil.Process.terminate)

    def kill(self) -> None:
        """Send SIGKILL to the server and its children, and return when they have ended."""
        self.save()
        self._end(psutil.Process.kill)

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same port with the same data."""
        if self.running:
            self.stop()
        self.start()

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()
        self.remove()

    def remove(self) -> None:
        """Delete the server's data."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ready(self) -> bool:
        if not self.running:
            raise RuntimeError(f"{type(self).__name__} ended at once:\n{self.log.read_text()[-3000:]}")
        return self.answers()

    def _end(self, how: Callable[[psutil.Process], None]) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            family = [psutil.Process(process.pid)]
        except psutil.NoSuchProcess:
            process.wait()
            return
        # after SIGTERM the server ends its children itself
        family += family[0].children(recursive=True)
        for member in family if how is psutil.Process.kill else family[:1]:
            try:
                how(member)
            except psutil.NoSuchProcess:
                continue
        try:
            process.wait(30)
        finally:
            for left in psutil.wait_procs(family[1:], timeout=5)[1]:
                left.kill()


def free_port() -> int:
    """Return a port on which no process listens."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        return int(server.getsockname()[1])


def wait_until(holds: Callable[[], bool], seconds: float, every: float = 0.05) -> None:
    """Return when a condition is true.

    Raises:
        TimeoutError: it is not true within the time.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{getattr(holds, '__qualname__', holds)} is not true after {seconds:g} s")
        time.sleep(every)


def status_of(url: str) -> int | None:
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError:
        return None
