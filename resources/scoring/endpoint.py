"""The client of a project's scoring service: it starts, calls, switches and stops it, wherever the service runs."""

from __future__ import annotations

import ssl
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

import httpx
from filelock import FileLock
from pydantic import ValidationError

from mlops_assets.errors import EndpointError, InputError, ModelError, PlatformError, Refused
from mlops_assets.prediction.service_api import (
    Bundle,
    DrainResult,
    ErrorBody,
    LoadResult,
    ShadowBundle,
    Slot,
    Status,
    SwitchResult,
    Version,
)
from mlops_assets.resources.scoring.config import PROMOTING, ModelRef, ServiceConfig, endpoint_folder, scorer_token
from mlops_assets.resources.scoring.deployed import StartVersions
from mlops_assets.spec.project import ProjectSpec
from mlops_assets.timeline import iso

START_WITHIN = 90.0
"""Seconds from start to the first response; 4 to 6 on a quiet machine, most of it the imports of the first model."""
RESPOND_WITHIN = httpx.Timeout(120.0, connect=5.0)


@cache
def _trusted() -> ssl.SSLContext:
    """Return the trusted certificate authorities, read once per process: that takes longer than most requests."""
    return httpx.create_ssl_context(trust_env=False)


def no_versions() -> StartVersions:
    """Return neither a champion nor a shadow: the service starts empty."""
    return None, None


class Endpoint(ABC):
    """The scoring service of a project. Subclasses know where it runs and how it is started.

    Args:
        spec: the project.
        state: the folder with a folder of local state per project; the service and its clients share it.
        client_token_file: file with the token that clients must send; None: none is required.
        deployed: returns the versions that the service starts with.
    """

    def __init__(
        self,
        spec: ProjectSpec,
        state: Path,
        client_token_file: Path | None = None,
        deployed: Callable[[], StartVersions] = no_versions,
    ) -> None:
        self.spec, self.project, self.state = spec, spec.name, state.absolute()
        self.client_token_file, self.deployed = client_token_file, deployed
        self.folder = endpoint_folder(self.state, self.project)
        # no proxy of the environment is used between two processes of one machine or cluster
        self._client = httpx.Client(trust_env=False, timeout=RESPOND_WITHIN, verify=_trusted())
        # runs and sensor ticks do not close their endpoint: its connections are closed when it is collected
        weakref.finalize(self, self._client.close)

    def close(self) -> None:
        """Close the connections; the service keeps running."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    @abstractmethod
    def url(self) -> str | None:
        """The service's address; None while it does not run."""

    @property
    @abstractmethod
    def log_place(self) -> str:
        """Where a person finds the service's log."""

    @abstractmethod
    def start(
        self, serve: ModelRef | None = None, shadow: ModelRef | None = None, within: float = START_WITHIN
    ) -> object:
        """Start the service, and return when it responds.

        A service that runs is left alone, unless its settings have changed: then it is restarted.

        Args:
            serve: the version that serves from the start; None: no version.
            shadow: the version that predicts in the shadow from the start; None: no version.
            within: seconds to wait at most.

        Raises:
            EndpointError: the service ends or takes too long; the error has the end of its log.
        """

    @abstractmethod
    def stop(self) -> bool:
        """Stop the service; it finishes requests in flight and the shadow's backlog first.

        Returns:
            Whether it ran.

        Raises:
            EndpointError: it does not end.
        """

    def ensure_running(self) -> None:
        """Start the service if it does not run, with the champion and the shadow that the ledger names.

        Raises:
            EndpointError: the service ends or takes too long; the error has the end of its log.
        """
        serve, shadow = self.deployed()
        self.start(serve, shadow)

    def status(self) -> Status | None:
        """Return the service's state; None while it does not run.

        Raises:
            EndpointError: it runs and does not respond.
        """
        return None if self.url is None else Status.model_validate(self._call("GET", "/status"))

    def serving(self) -> int | None:
        """Return the version that serves; None when none does, or the service does not run."""
        status = self.status()
        return None if status is None or status.champion is None else status.champion.version

    def shadowing(self) -> int | None:
        """Return the version that predicts in the shadow; None when none does, or the service does not run."""
        status = self.status()
        return None if status is None or status.shadow is None else status.shadow.version

    def load(self, version: int, folder: Path) -> Slot:
        """Load a version as standby. It has reproduced its reference predictions when this returns.

        Returns:
            Its slot: `standby`, or `champion` if it serves already.

        Raises:
            ModelError: the version does not load, or predicts something else; the champion keeps serving.
        """
        body = Bundle(version=version, folder=folder)
        return LoadResult.model_validate(self._call("POST", "/admin/load", body.model_dump(mode="json"))).place

    def switch(self, version: int) -> int | None:
        """Let the standby serve, without a failed request.

        Returns:
            The version that served before.

        Raises:
            Refused: this version is not the standby.
        """
        body = Version(version=version).model_dump()
        return SwitchResult.model_validate(self._call("POST", "/admin/switch", body)).previous

    def unload(self) -> None:
        """Release the standby."""
        self._call("POST", "/admin/unload")

    def shadow(self, version: int | None, folder: Path | None) -> None:
        """Let a version predict in the shadow; None and None: no version.

        Raises:
            ModelError: the version does not load, or does not reproduce its reference predictions.
        """
        body = ShadowBundle(version=version, folder=folder)
        self._call("POST", "/admin/shadow", body.model_dump(mode="json"))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock over processes under which a version is promoted."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / PROMOTING):
            yield

    def drain(self, timeout: float = 60.0) -> int:
        """Wait until the shadow has predicted for all logged events and the request log is written.

        Args:
            timeout: seconds to wait at most.

        Returns:
            The number of events left; 0 unless the timeout was reached.
        """
        found = self._call("POST", f"/admin/drain?timeout={timeout}", timeout=timeout + 30.0)
        return DrainResult.model_validate(found).backlog

    def invoke(
        self, records: Sequence[Mapping[str, Any]], due: Sequence[datetime], now: datetime
    ) -> list[dict[str, Any]]:
        """Request the predictions of due events, as the scorer does; an event's first prediction stays.

        Args:
            records: rows of a request (`to_records`), at least one.
            due: the moment at which each prediction is due.
            now: the project's time of the request.

        Returns:
            One dict per row: `prediction`, `probability_<class>`, `model_version`, `dataset`, `event_id`,
            `entity_known`, `stored` (the event had a prediction before, and this is that prediction).

        Raises:
            InputError: a row cannot be predicted; none of the others was.
            Refused: an event was due before the champion's training data were taken.
            EndpointError: the service does not respond.
        """
        times = {"due": [iso(moment) for moment in due], "now": [iso(now)] * len(records)}
        body = {"dataframe_records": list(records), **times}
        predictions: list[dict[str, Any]] = self._call("POST", "/invocations", body)["predictions"]
        return predictions

    def ask(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Request predictions as any client does; they are logged with the role `ad_hoc`.

        Args:
            records: rows of a request (`to_records`), at least one.

        Returns:
            One dict per row, like `invoke`, without `stored`.

        Raises:
            InputError: a row cannot be predicted.
            EndpointError: the service does not respond.
        """
        body = {"dataframe_records": list(records)}
        predictions: list[dict[str, Any]] = self._call("POST", "/invocations", body, client=True)["predictions"]
        return predictions

    def _error(self, place: str, found: str, remedy: str) -> EndpointError:
        return EndpointError(self.project, place, found, remedy)

    def _responds(self, url: str) -> bool:
        try:
            return self._client.get(f"{url}/version", timeout=2.0).is_success
        except httpx.TransportError:
            return False

    def _call(
        self,
        method: str,
        path: str,
        content: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        client: bool = False,
    ) -> dict[str, Any]:
        """Send a request, and return the JSON of its response.

        Args:
            method: the HTTP method.
            path: the path, with its query.
            content: the JSON body; None: no body.
            timeout: seconds; None: `RESPOND_WITHIN`.
            client: whether the request is sent with the clients' token instead of the scorer's.
        """
        url = self.url
        if url is None:
            raise self._error("scoring service", "it does not run", "materialize endpoint to start it")
        try:
            response = self._client.request(
                method,
                f"{url}{path}",
                json=content,
                headers=self._headers(client),
                timeout=RESPOND_WITHIN if timeout is None else timeout,
            )
        except httpx.TransportError as error:
            raise self._error(
                f"{url}{path}", f"no response: {error!r}", f"see its log, {self.log_place}, or materialize endpoint"
            ) from error
        if response.is_success:
            found: dict[str, Any] = response.json()
            return found
        raise self._error_of(path, response)

    def _headers(self, client: bool) -> dict[str, str]:
        if not client:
            return {"X-Scorer-Token": scorer_token(self.folder)}
        config = ServiceConfig(spec=self.spec, state=self.state, client_token_file=self.client_token_file)
        token = config.client_token()
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def _error_of(self, path: str, response: httpx.Response) -> PlatformError:
        """Return the error that a response with a status of 400 or more stands for."""
        status = response.status_code
        try:
            error = ErrorBody.model_validate_json(response.content).error
        except ValidationError:
            # not a response of the service's own code, for example when the disk is full
            found = f"{status}: {response.text[:200]!r}"
            return self._error(f"scoring service{path}", found, f"see its log, {self.log_place}")
        if path == "/invocations" and status in (400, 413, 422):
            remedy = "send the model's inputs (see /docs)"
            return InputError(self.project, error.field, error.message, remedy, error.row)
        place = error.field if error.row is None else f"row {error.row}, {error.field}"
        if status == 409:
            return Refused(self.project, place, error.message, "nothing was changed")
        if path in ("/admin/load", "/admin/shadow") and status == 422:
            return ModelError(self.project, place, error.message, "nothing was changed")
        return self._error(
            f"scoring service{path}", f"{status}: {place}: {error.message}", f"see its log, {self.log_place}"
        )
