"""What a scoring service is started with, and the files it shares with those who talk to it.

All lie in `<state>/<project>/endpoint/`: `config.json` (written by who starts it), `process.json` (written by the
service once it listens), `token` (whoever comes first), `service.log`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mlops_assets.errors import EndpointError
from mlops_assets.spec.project import ProjectSpec

TOKEN_VARIABLE = "MLOPS_ASSETS_CLIENT_TOKEN"
"""Environment variable of the service that holds the token clients must show."""
LOOK_AT_TOKEN_EVERY = 1.0
"""Seconds between two looks whether the file of the clients' token has changed."""
CONFIG, PROCESS, TOKEN, LOG, STARTING, RUNNING, PROMOTING = (
    "config.json",
    "process.json",
    "token",
    "service.log",
    "starting.lock",
    "running.lock",
    "promoting.lock",
)

log = logging.getLogger("mlops_assets.endpoint")


class ModelRef(BaseModel):
    """A model version and where its bundle lies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    folder: Path


class ServiceConfig(BaseModel):
    """One scoring service."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    spec: ProjectSpec
    state: Path
    """The state folder; the project's part of it is `<state>/<project>/`."""
    serve: ModelRef | None = None
    """What it serves from the start; None: it answers 503 until a version is loaded and switched to."""
    shadow: ModelRef | None = None
    host: str = "127.0.0.1"
    port: int = 0
    """Wished for; when it is taken, or 0, a free one."""
    client_token_file: Path | None = None
    """Holds the token that clients must show; without it, and without the environment variable, none is asked for."""
    max_body_mb: float = 32.0

    @property
    def folder(self) -> Path:
        """Where the service and its clients share files."""
        return endpoint_folder(self.state, self.spec.name)

    def client_token(self) -> str | None:
        """The token that clients must show, from the environment or the file; None: none is asked for.

        Raises:
            EndpointError: when the file is absent or empty: a service that was to be closed must not stand open.
        """
        return os.environ.get(TOKEN_VARIABLE) or self.token_in_file()

    def token_in_file(self) -> str | None:
        """The token in the file, if one is named.

        Raises:
            EndpointError: when it is absent or empty.
        """
        path = self.client_token_file
        if path is None:
            return None
        token = path.read_text().strip() if path.is_file() else ""
        if not token:
            raise EndpointError(
                self.spec.name, f"client token file {path}", "it is absent or empty", "write the token into it"
            )
        return token


class ClientToken:
    """The token that clients must show, as it is now: a file's is read anew once the file has changed.

    Args:
        config: names the file, if there is one; the environment variable goes before it.

    Raises:
        EndpointError: when the file is absent or empty at the start.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self._state = self._file_state()
        self._token = config.client_token()
        self._look_again = time.monotonic() + LOOK_AT_TOKEN_EVERY

    @property
    def value(self) -> str | None:
        """The token; None: none is asked for."""
        if self.config.client_token_file is not None and time.monotonic() >= self._look_again:
            self._look_again = time.monotonic() + LOOK_AT_TOKEN_EVERY
            self._reread()
        return self._token

    def _reread(self) -> None:
        state = self._file_state()
        if state == self._state:
            return
        try:
            self._token = self.config.client_token()
        except (EndpointError, OSError) as error:
            # it may be in the middle of being replaced; the service neither opens nor forgets its clients meanwhile
            log.warning(f"the clients' token stays what it was: {error}")
            return
        self._state = state
        log.info("the clients' token was read anew")

    def _file_state(self) -> tuple[int, int, int] | None:
        """What differs after a file was written or replaced; None while it is not there."""
        path = self.config.client_token_file
        if path is None or not path.exists():
            return None
        found = path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size


class ProcessRecord(BaseModel):
    """`process.json`: enough to know the service's process again, and to talk to it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    pid: int
    started: float
    """Start of the process, seconds since the epoch; a reused pid has another one."""
    host: str
    port: int
    settings: str
    """`fingerprint` of the configuration it runs with."""

    @property
    def url(self) -> str:
        """Where it can be asked from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def fingerprint(config: ServiceConfig) -> str:
    """What tells settings from others, apart from what changes while a service runs: versions, port, clients' token."""
    lasting = config.model_copy(update={"serve": None, "shadow": None, "port": 0})
    return hashlib.sha256(lasting.model_dump_json().encode()).hexdigest()[:16]


def endpoint_folder(state: Path, project: str) -> Path:
    """The folder of a project's service in the state folder."""
    return state / project / "endpoint"


def scorer_token(folder: Path) -> str:
    """The token of the scorer and of administration; made at the first asking, readable by its owner only.

    Raises:
        EndpointError: when its file is empty.
    """
    path = folder / TOKEN
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shadow_for = folder / f".{TOKEN}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(shadow_for, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        # a link appears whole, and fails if another process was first: then its token is the one that counts
        with contextlib.suppress(FileExistsError):
            os.link(shadow_for, path)
        shadow_for.unlink()
    token = path.read_text()
    if not token:
        # anybody could send nothing
        raise EndpointError(folder.parent.name, str(path), "the file is empty", "remove it, and start the service anew")
    return token
