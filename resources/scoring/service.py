"""Talking to a project's scoring service, wherever it runs. Knows no Dagster."""

from __future__ import annotations

import ssl
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from filelock import FileLock

from mlops_assets.errors import EndpointError, InputError, ModelError, PlatformError, Refused
from mlops_assets.resources.scoring.config import (
    PROMOTING,
    ModelRef,
    ProcessRecord,
    ServiceConfig,
    endpoint_folder,
    scorer_token,
)
from mlops_assets.spec.project import ProjectSpec
from mlops_assets.timeline import iso

START_WITHIN = 90.0
"""Seconds from start to the first answer; 4 to 6 on a quiet machine, most of it the first model's imports."""
ANSWER_WITHIN = httpx.Timeout(120.0, connect=5.0)


@cache
def _trusted() -> ssl.SSLContext:
    """The authorities, read once a process: at 36 ms they cost more than most of what is asked for."""
    return httpx.create_ssl_context(trust_env=False)


class ScoringService(ABC):
    """A project's scoring service as its callers have it; subclasses know where it runs and how it is started.

    Args:
        spec: the project.
        state: the state folder that the service shares with its callers.
        client_token_file: holds the token that clients must show; None: none is asked for.
    """

    def __init__(self, spec: ProjectSpec, state: Path, client_token_file: Path | None = None) -> None:
        self.spec, self.project, self.state = spec, spec.name, state.absolute()
        self.client_token_file = client_token_file
        self.folder = endpoint_folder(self.state, self.project)
        # no proxy of the environment stands between two processes of one machine or cluster
        self._client = httpx.Client(trust_env=False, timeout=ANSWER_WITHIN, verify=_trusted())
        # a sensor's tick or a run drops it without ceremony: its connections go with it
        weakref.finalize(self, self._client.close)

    def close(self) -> None:
        """Release the connections; the service goes on."""
        self._client.close()

    def __enter__(self) -> ScoringService:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    @abstractmethod
    def url(self) -> str | None:
        """Where it listens; None while it does not run."""

    @property
    @abstractmethod
    def log_place(self) -> str:
        """Where a person finds its log."""

    @abstractmethod
    def ensure_running(
        self, serve: ModelRef | None = None, shadow: ModelRef | None = None, within: float = START_WITHIN
    ) -> ProcessRecord | None:
        """Have the service run and answer; one that runs is left alone, unless the project's YAML has changed since.

        Args:
            serve: what a service that must be started serves; None: nothing yet.
            shadow: what it predicts with in the shadow.
            within: seconds to wait at most.

        Returns:
            Its process, where it is one of this machine.

        Raises:
            EndpointError: with the end of its log, when it dies or takes too long.
        """

    @abstractmethod
    def stop(self) -> bool:
        """End the service: requests in flight and the shadow's backlog are finished first.

        Returns:
            Whether there was one to end.

        Raises:
            EndpointError: when it does not go away.
        """

    def _error(self, place: str, found: str, remedy: str) -> EndpointError:
        return EndpointError(self.project, place, found, remedy)

    def _answers(self, url: str) -> bool:
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
        url = self.url
        if url is None:
            raise self._error("scoring service", "it does not run", "materialize endpoint to start it")
        try:
            response = self._client.request(
                method,
                f"{url}{path}",
                json=content,
                headers=self._headers(client),
                timeout=ANSWER_WITHIN if timeout is None else timeout,
            )
        except httpx.TransportError as error:
            raise self._error(
                f"{url}{path}",
                f"no answer: {error!r}",
                f"see its log, {self.log_place}, or materialize endpoint",
            ) from error
        if response.is_success:
            answer: dict[str, Any] = response.json()
            return answer
        raise self._refused(path, response)

    def _headers(self, client: bool) -> dict[str, str]:
        if not client:
            return {"X-Scorer-Token": scorer_token(self.folder)}
        config = ServiceConfig(spec=self.spec, state=self.state, client_token_file=self.client_token_file)
        token = config.client_token()
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def _refused(self, path: str, response: httpx.Response) -> PlatformError:
        try:
            error = response.json()["error"]
        except (ValueError, LookupError, TypeError):
            # not one of the service's own answers: it broke where nobody foresaw it, as on a full disk
            found = f"{response.status_code}: {response.text[:200]!r}"
            return self._error(f"scoring service{path}", found, f"see its log, {self.log_place}")
        place = error["field"] if error["row"] is None else f"row {error['row']}, {error['field']}"
        if response.status_code == 409:
            return Refused(self.project, place, error["message"], "nothing was changed")
        if path == "/invocations" and response.status_code in (400, 413, 422):
            return InputError(self.project, place, error["message"], "send what the model's inputs say (see /docs)")
        if path in ("/admin/load", "/admin/shadow") and response.status_code == 422:
            return ModelError(self.project, place, error["message"], "nothing was changed")
        found = f"{response.status_code}: {place}: {error['message']}"
        return self._error(f"scoring service{path}", found, f"see its log, {self.log_place}")

    def status(self) -> dict[str, Any] | None:
        """What the service says about itself (`Status` of its OpenAPI document); None while it does not run.

        Raises:
            EndpointError: when it runs and does not answer.
        """
        return None if self.url is None else self._call("GET", "/status")

    def serving(self) -> int | None:
        """The version that serves; None when none does, or the service does not run."""
        status = self.status()
        if status is None or status["champion"] is None:
            return None
        return int(status["champion"]["version"])

    def load(self, version: int, folder: Path) -> str:
        """Load a version beside the one that serves; it has answered its golden rows when this returns.

        Returns:
            Where it is: `standby`, or `champion` if it serves already.

        Raises:
            ModelError: when it does not load, or answers wrongly; what served goes on.
        """
        return str(self._call("POST", "/admin/load", {"version": version, "folder": str(folder)})["place"])

    def switch(self, version: int) -> int | None:
        """Let the version that stands by serve, without failing a request.

        Returns:
            The version that served before.

        Raises:
            Refused: when another version stands by, or none.
        """
        previous: int | None = self._call("POST", "/admin/switch", {"version": version})["previous"]
        return previous

    def unload(self) -> None:
        """Release the version that stands by."""
        self._call("POST", "/admin/unload")

    def shadow(self, version: int | None, folder: Path | None) -> None:
        """Let a version predict in the shadow; None and None: no longer.

        Raises:
            ModelError: when it does not load, or answers wrongly.
        """
        self._call("POST", "/admin/shadow", {"version": version, "folder": None if folder is None else str(folder)})

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold while promoting: the project's promotions come one after the other, over all processes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / PROMOTING):
            yield

    def drain(self, timeout: float = 60.0) -> int:
        """Wait until the shadow has predicted for all answers and the request log is written.

        Returns:
            How many are left; 0 unless the time (seconds) was up.
        """
        answer = self._call("POST", f"/admin/drain?timeout={timeout}", timeout=timeout + 30.0)
        return int(answer["backlog"])

    def invoke(
        self, records: Sequence[Mapping[str, Any]], due: Sequence[datetime], now: Sequence[datetime]
    ) -> list[dict[str, Any]]:
        """Ask for the answers to events, as the scorer: the first answer stands.

        Args:
            records: rows of a request (`to_records`), at least one.
            due: when each answer is due.
            now: the project's time at which each is asked.

        Returns:
            One dict per row: `prediction`, `probability_<class>`, `model_version`, `dataset`, `event_id`,
            `entity_known`, `stored` (the event was answered before, and this is that answer).

        Raises:
            InputError: when a row cannot be answered; the others were not either.
            Refused: when the champion may not answer an event that was due before its data were snapped.
            EndpointError: when the service does not answer.
        """
        times = {"due": [iso(moment) for moment in due], "now": [iso(moment) for moment in now]}
        body = {"dataframe_records": list(records), **times}
        answers: list[dict[str, Any]] = self._call("POST", "/invocations", body)["predictions"]
        return answers

    def ask(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Ask as any client would: answered, and recorded as `ad_hoc`.

        Args:
            records: rows of a request (`to_records`), at least one.

        Returns:
            One dict per row, as from `invoke`, without `stored`.

        Raises:
            InputError: when a row cannot be answered.
            EndpointError: when the service does not answer.
        """
        answers: list[dict[str, Any]] = self._call(
            "POST", "/invocations", {"dataframe_records": list(records)}, client=True
        )["predictions"]
        return answers
