"""A project's scoring service as a process: started once, found again, talked to, ended. Knows no Dagster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
from filelock import FileLock
from pydantic import ValidationError

from mlops_assets.errors import EndpointError, InputError, ModelError, PlatformError, Refused
from mlops_assets.spec.project import ProjectSpec
from mlops_assets.timeline import iso
from resources.service_config import (
    CONFIG,
    LOG,
    PROCESS,
    PROMOTING,
    STARTING,
    ModelRef,
    ProcessRecord,
    ServiceConfig,
    endpoint_folder,
    fingerprint,
    scorer_token,
    write_whole,
)
from resources.service_process import CHILDREN, SERVICE, forget_ended, process_of, terminate

START_WITHIN = 90.0
"""Seconds from start to the first answer; 4 to 6 on a quiet machine, most of it the first model's imports."""
END_WITHIN = 12.0
"""Seconds that the service may take to end by itself, its own limit and a little; then it is killed."""
LOOK_EVERY = 0.05
LOG_TAIL = 2000
MAX_LOG = 10 * 2**20
"""Bytes from which a service's log is moved aside at the next start."""
ANSWER_WITHIN = httpx.Timeout(120.0, connect=5.0)


class EndpointProcess:
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
        self.spec, self.project, self.state = spec, spec.name, state.absolute()
        self.host, self.client_token_file = host, client_token_file
        self.folder = endpoint_folder(self.state, self.project)
        # no proxy of the environment stands between two processes of one machine
        self._client = httpx.Client(trust_env=False, timeout=ANSWER_WITHIN)
        # a sensor's tick or a run drops it without ceremony: its connections go with it
        weakref.finalize(self, self._client.close)

    def close(self) -> None:
        """Release the connections; the service goes on."""
        self._client.close()

    def __enter__(self) -> EndpointProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # The process

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

    def _error(self, place: str, found: str, remedy: str) -> EndpointError:
        return EndpointError(self.project, place, found, remedy)

    @property
    def url(self) -> str | None:
        """Where it listens; None while it does not run."""
        found = self.record()
        return None if found is None else found.url

    def ensure_running(
        self, serve: ModelRef | None = None, shadow: ModelRef | None = None, within: float = START_WITHIN
    ) -> ProcessRecord:
        """Have the service run and answer; one that runs is left alone, unless the project's YAML has changed since.

        Args:
            serve: what a service that must be started serves; None: nothing yet.
            shadow: what it predicts with in the shadow.
            within: seconds to wait at most.

        Raises:
            EndpointError: with the end of its log, when it dies or takes too long.
        """
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
        write_whole(self.folder / CONFIG, config.model_dump_json(indent=1))
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
            if found is not None and self._answers(found):
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

    def _answers(self, found: ProcessRecord) -> bool:
        try:
            return self._client.get(f"{found.url}/version", timeout=2.0).is_success
        except httpx.TransportError:
            return False

    def _log_tail(self) -> str:
        path = self.folder / LOG
        if not path.exists():
            return "(empty)"
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL))
            return file.read().decode(errors="replace").strip()

    def stop(self) -> bool:
        """End the service: requests in flight and the shadow's backlog are finished first.

        Returns:
            Whether there was one to end.

        Raises:
            EndpointError: when its process does not go away.
        """
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

    # Talking to it

    def _call(
        self,
        method: str,
        path: str,
        content: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        client: bool = False,
    ) -> dict[str, Any]:
        found = self.record()
        if found is None:
            raise self._error("scoring service", "it does not run", "materialize endpoint to start it")
        try:
            response = self._client.request(
                method,
                f"{found.url}{path}",
                json=content,
                headers=self._headers(client),
                timeout=ANSWER_WITHIN if timeout is None else timeout,
            )
        except httpx.TransportError as error:
            raise self._error(
                f"{found.url}{path}",
                f"no answer: {error!r}",
                f"see its log, {self.folder / LOG}, or materialize endpoint",
            ) from error
        if response.is_success:
            answer: dict[str, Any] = response.json()
            return answer
        raise self._refused(path, response)

    def _headers(self, client: bool) -> dict[str, str]:
        if not client:
            return {"X-Scorer-Token": scorer_token(self.folder)}
        token = self._config(None, None).client_token()
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def _refused(self, path: str, response: httpx.Response) -> PlatformError:
        error = response.json()["error"]
        place = error["field"] if error["row"] is None else f"row {error['row']}, {error['field']}"
        if response.status_code == 409:
            return Refused(self.project, place, error["message"], "nothing was changed")
        if path == "/invocations" and response.status_code in (400, 413, 422):
            return InputError(self.project, place, error["message"], "send what the model's inputs say (see /docs)")
        if path in ("/admin/load", "/admin/shadow") and response.status_code == 422:
            return ModelError(self.project, place, error["message"], "nothing was changed")
        found = f"{response.status_code}: {place}: {error['message']}"
        return self._error(f"scoring service{path}", found, f"see its log, {self.folder / LOG}")

    def status(self) -> dict[str, Any] | None:
        """What the service says about itself (`Status` of its OpenAPI document); None while it does not run.

        Raises:
            EndpointError: when it runs and does not answer.
        """
        return None if self.record() is None else self._call("GET", "/status")

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
