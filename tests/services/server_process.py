"""A server as a process of a test: its life, and what waits for it."""

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
        folder: where its data and its log lie; made if it is not there.
    """

    patience = 30.0
    """Seconds until it must answer."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    # What a server is

    @property
    def url(self) -> str:
        """Its address, without a password."""
        return f"http://{HOST}:{self.port}"

    @abstractmethod
    def command(self) -> list[str]:
        """The command that becomes the server."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is ready."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """What a platform needs in its environment to use it."""

    def own_environment(self) -> dict[str, str]:
        """What the server itself needs in its environment."""
        return {}

    def prepare(self) -> None:  # noqa: B027 - most have nothing to do here
        """What is done before its first start."""

    def furnish(self) -> None:  # noqa: B027 - most have nothing to do here
        """What is done when it has started."""

    def save(self) -> None:  # noqa: B027 - most have nothing to do here
        """What is done before it ends, in whatever way."""

    # Its life

    def start(self) -> Self:
        """Start it, and come back when it answers."""
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
            wait_until(self._ready, self.patience)
            self.furnish()
        except BaseException:
            self._end(psutil.Process.kill)
            raise
        return self

    def stop(self) -> None:
        """Ask it to end, and come back when it has."""
        self.save()
        self._end(psutil.Process.terminate)

    def kill(self) -> None:
        """End it and all its children at once, as `kill -9` does."""
        self.save()
        self._end(psutil.Process.kill)

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same port with the same data."""
        if self.running:
            self.stop()
        self.start()

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()
        self.remove()

    def remove(self) -> None:
        """Take its data away."""
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
        # a server that is asked to end ends its children itself
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
    """A port that nobody listens on."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        return int(server.getsockname()[1])


def wait_until(holds: Callable[[], bool], seconds: float, every: float = 0.05) -> None:
    """Come back when something holds.

    Raises:
        TimeoutError: when it does not within that time.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"{getattr(holds, '__qualname__', holds)} does not hold after {seconds:g} s")
        time.sleep(every)


def status_of(url: str) -> int | None:
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError:
        return None
