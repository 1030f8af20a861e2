"""The configuration of a scoring service, and the files that it shares with its clients.

All of them are in `<state>/<project>/endpoint/`: `config.json` (written before the service starts), `process.json`
(written by the service when it listens), `token` (written by whoever needs it first) and `service.log`.
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
from mlops_assets.resources.runtime.processes import RecordedProcess
from mlops_assets.spec.project import ProjectSpec

TOKEN_VARIABLE = "MLOPS_ASSETS_CLIENT_TOKEN"
"""Environment variable of the service with the token that clients must send."""
CHECK_TOKEN_EVERY = 1.0
"""Seconds between two checks whether the file of the clients' token has changed."""
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
    """A model version and the folder of its bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    folder: Path


class ServiceConfig(BaseModel):
    """What a scoring service is started with."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    spec: ProjectSpec
    state: Path
    """The folder with a folder of local state per project."""
    serve: ModelRef | None = None
    """The version that serves from the start. With None the service responds 503 until a version is switched to."""
    shadow: ModelRef | None = None
    """The version that predicts in the shadow from the start; None: no version."""
    host: str = "127.0.0.1"
    port: int = 0
    """The preferred port. A free one is used when it is taken, or 0."""
    client_token_file: Path | None = None
    """File with the token that clients must send. Without it and the environment variable none is required."""
    max_body_mb: float = 32.0

    @property
    def folder(self) -> Path:
        """The folder of the files that the service and its clients share."""
        return endpoint_folder(self.state, self.spec.name)

    def client_token(self) -> str | None:
        """Return the token that clients must send, from the environment or the file; None: none is required.

        Raises:
            EndpointError: the file is absent or empty. A service that was meant to be closed must not be open.
        """
        return os.environ.get(TOKEN_VARIABLE) or self.token_in_file()

    def token_in_file(self) -> str | None:
        """Return the token in the file; None when no file is named.

        Raises:
            EndpointError: the file is absent or empty.
        """
        path = self.client_token_file
        if path is None:
            return None
        token = path.read_text().strip() if path.is_file() else ""
        if not token:
            raise EndpointError(
                self.spec.name,
                f"client token file {path}",
                "the file is absent or empty",
                "write the token into the file",
            )
        return token


class ClientToken:
    """The token that clients must send, kept up to date: the file is read again after it has changed.

    Args:
        config: names the file. The environment variable has precedence.

    Raises:
        EndpointError: the file is absent or empty when the service starts.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self._file_state = self._read_file_state()
        self._token = config.client_token()
        self._next_check = time.monotonic() + CHECK_TOKEN_EVERY

    @property
    def value(self) -> str | None:
        """The token; None: none is required."""
        if self.config.client_token_file is not None and time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CHECK_TOKEN_EVERY
            self._read_again_if_changed()
        return self._token

    def _read_again_if_changed(self) -> None:
        state = self._read_file_state()
        if state == self._file_state:
            return
        try:
            self._token = self.config.client_token()
        except (EndpointError, OSError) as error:
            # the file may be in the middle of a replacement; until then the service keeps the old token
            log.warning(f"the clients' token was not changed: {error}")
            return
        self._file_state = state
        log.info("the clients' token was read again")

    def _read_file_state(self) -> tuple[int, int, int] | None:
        """Return modification time, inode and size of the file; None when it does not exist."""
        path = self.config.client_token_file
        if path is None or not path.exists():
            return None
        found = path.stat()
        return found.st_mtime_ns, found.st_ino, found.st_size


class ServiceProcess(RecordedProcess):
    """The content of `process.json`: the service's process, and its address."""

    host: str
    port: int
    settings: str
    """`fingerprint` of the configuration that it runs with."""

    @property
    def url(self) -> str:
        """The service's address on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def fingerprint(config: ServiceConfig) -> str:
    """Return a digest of the settings that need a restart when they change.

    Versions, port and the clients' token do not: they change while a service runs.
    """
    lasting = config.model_copy(update={"serve": None, "shadow": None, "port": 0})
    return hashlib.sha256(lasting.model_dump_json().encode()).hexdigest()[:16]


def endpoint_folder(state: Path, project: str) -> Path:
    """Return the folder that a project's service shares with its clients."""
    return state / project / "endpoint"


def scorer_token(folder: Path) -> str:
    """Return the token for the scorer and the admin API. The first call writes it, readable by the owner only.

    Raises:
        EndpointError: its file is empty.
    """
    path = folder / TOKEN
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{TOKEN}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        # unlike renaming, linking fails when another process was first; then that process's token is valid
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
    token = path.read_text()
    if not token:
        # otherwise an empty header would be the right token
        raise EndpointError(folder.parent.name, str(path), "the file is empty", "remove it and restart the service")
    return token
