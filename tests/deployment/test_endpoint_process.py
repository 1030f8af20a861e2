"""A service's process: it is started once, found again, called, and ended by its own pid."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from bundles import Version, rentals_spec
from filelock import FileLock
from scoring_services import ref

from mlops_assets.errors import EndpointError, InputError, ModelError, Refused
from mlops_assets.files import write_text
from mlops_assets.resources.scoring.config import (
    LOG,
    PROCESS,
    RUNNING,
    ModelRef,
    ServiceConfig,
    ServiceProcess,
    fingerprint,
)
from mlops_assets.resources.scoring.endpoint_process import CHILDREN, EndpointProcess
from mlops_assets.resources.telemetry.prediction_log import PredictionLog, telemetry_path
from mlops_assets.timeline import Timeline, parse

MakeEndpoint = Callable[..., EndpointProcess]


@pytest.fixture
def endpoint(rentals: dict[int, Version], tmp_path: Path) -> Iterator[MakeEndpoint]:
    """Return a function that makes clients of the service in `tmp_path`; the service is stopped after the test."""
    with ExitStack() as stack:

        def made(**settings: Any) -> EndpointProcess:
            handle = stack.enter_context(EndpointProcess(rentals[1].spec, tmp_path, **settings))
            stack.callback(handle.stop)
            return handle

        yield made


def score(handle: EndpointProcess, version: Version, rows: slice) -> list[dict[str, Any]]:
    records = version.records[rows]
    due = [Timeline(version.spec).due(parse(record["event_time"])) for record in records]
    return handle.invoke(records, due, due[0])


def test_unexpected_response_error_names_the_log(
    rentals: dict[int, Version], endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an unexpected error the web framework responds with plain text, without an error body."""
    handle = endpoint()
    broken = httpx.MockTransport(lambda _: httpx.Response(500, text="Internal Server Error"))
    monkeypatch.setattr(handle, "_client", httpx.Client(transport=broken))
    monkeypatch.setattr(type(handle), "url", "http://127.0.0.1:1")
    with pytest.raises(EndpointError, match=r"/status: 500: 'Internal Server Error' -> see its log, .*endpoint"):
        handle.status()


def test_service_starts_switches_stops_and_restarts_on_its_port(
    rentals: dict[int, Version], endpoint: MakeEndpoint, tmp_path: Path
) -> None:
    """All in one test, since each start takes seconds."""
    handle, version = endpoint(), rentals[1]
    assert handle.record() is None
    assert not handle.url
    assert handle.status() is None
    assert handle.serving() is None
    assert handle.stop() is False
    with pytest.raises(EndpointError, match="does not run"):
        score(handle, version, slice(1))

    # it serves from its first response on; a second start leaves it as it is
    first = handle.start(serve=ref(version, 1))
    assert handle.serving() == 1
    assert endpoint().start() == first
    assert handle.url == first.url == f"http://127.0.0.1:{first.port}"
    assert os.getsid(first.pid) != os.getsid(os.getpid())

    # requests, and errors of requests
    answers = score(handle, version, slice(3))
    assert [answer["model_version"] for answer in answers] == [1, 1, 1]
    assert score(handle, version, slice(1)) == [{**answers[0], "stored": True}]
    with pytest.raises(InputError, match="temp"):
        handle.invoke([{**version.records[5], "temp": "warm"}], [version.as_of], version.as_of)
    before = version.as_of - timedelta(hours=1)
    early = {**version.records[0], "event_time": (before + timedelta(hours=24)).isoformat()}
    with pytest.raises(Refused, match="version 1 was trained as of"):
        handle.invoke([early], [before], before)

    # a request of any client
    assert handle.ask(version.records[10:11])[0]["model_version"] == 1
    assert score(handle, version, slice(10, 11))[0]["stored"] is False

    # promotion and shadow
    with pytest.raises(ModelError, match=r"manifest\.json"):
        handle.load(2, tmp_path / "nowhere")
    with pytest.raises(Refused, match="is not the standby"):
        handle.switch(2)
    assert handle.load(2, rentals[2].folder) == "standby"
    handle.unload()
    handle.load(2, rentals[2].folder)
    assert handle.switch(2) == 1
    handle.shadow(1, version.folder)
    assert score(handle, version, slice(3, 5))[0]["model_version"] == 2
    assert handle.drain() == 0
    status = handle.status()
    assert status is not None
    assert status.shadow is not None
    assert (status.shadow.version, status.shadow_backlog) == (1, 0)
    handle.shadow(None, None)

    # stop, and the next start on the same port
    assert handle.stop() is True
    assert not psutil.pid_exists(first.pid) or psutil.Process(first.pid).status() == psutil.STATUS_ZOMBIE
    second = handle.start()
    assert (second.port, second.pid) != (first.port, first.pid)
    assert second.port == first.port
    assert handle.serving() is None
    with PredictionLog(telemetry_path(tmp_path, "rentals")) as log:
        epoch = parse("2000-01-01T00:00:00Z"), parse("2100-01-01T00:00:00Z")
        assert len(log.predictions("rentals", *epoch)) == 6
        assert len(log.predictions("rentals", *epoch, roles=["shadow"])) == 6
        assert len(log.predictions("rentals", *epoch, roles=["ad_hoc"])) == 1


def _ensure(spec: Any, state: Path, found: Any) -> None:
    with EndpointProcess(spec, state) as handle:
        found.put(handle.start().pid)


def test_concurrent_starts_start_one_process(
    rentals: dict[int, Version], endpoint: MakeEndpoint, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    found: Any = context.Queue()
    processes = [context.Process(target=_ensure, args=(rentals[1].spec, tmp_path, found)) for _ in range(3)]
    for process in processes:
        process.start()
    pids = {found.get(timeout=90) for _ in processes}
    for process in processes:
        process.join(10)
    handle = endpoint()
    running = handle.record()
    assert running is not None
    assert pids == {running.pid}

    # after a kill the logged predictions are there
    os.kill(running.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(running.pid)], timeout=5)
    assert handle.record() is None
    restarted = handle.start(serve=ref(rentals[1], 1), shadow=ref(rentals[2], 2))
    assert restarted.pid != running.pid

    # a stop first finishes the request in flight and the shadow's backlog
    score(handle, rentals[1], slice(40))
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.extend(handle.ask(rentals[1].records * 8)))
    asking.start()
    time.sleep(0.2)
    handle.stop()
    asking.join(30)
    assert len(answers) == 8 * len(rentals[1].records)
    with PredictionLog(telemetry_path(tmp_path, "rentals")) as log:
        epoch = parse("2000-01-01T00:00:00Z"), parse("2100-01-01T00:00:00Z")
        assert len(log.predictions("rentals", *epoch, roles=["shadow"])) == 40
        assert log.requests(*epoch)["status"].tolist() == [200, 200]


def test_service_with_other_settings_is_restarted(
    rentals: dict[int, Version], endpoint: MakeEndpoint, tmp_path: Path
) -> None:
    first = endpoint().start()
    with EndpointProcess(rentals_spec(serving={"every": "2h"}), tmp_path) as changed:
        second = changed.start()
        assert second.pid != first.pid
        assert changed.start() == second
        changed.stop()
    assert endpoint().record() is None


def test_fingerprint_covers_all_lasting_settings(rentals: dict[int, Version], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    config = ServiceConfig(spec=rentals[1].spec, state=tmp_path)
    closed = config.model_copy(update={"client_token_file": secret})
    found = [fingerprint(config), fingerprint(closed)]
    secret.write_text("two")
    found.append(fingerprint(closed))
    found.append(fingerprint(config.model_copy(update={"spec": rentals_spec(serving={"every": "2h"})})))
    assert found[2] == found[1], "a token that is exchanged needs no other service"
    assert len(set(found)) == 3
    serving = config.model_copy(update={"serve": ref(rentals[1], 1), "port": 5})
    assert fingerprint(serving) == found[0]


def test_failed_start_error_shows_end_of_log(endpoint: MakeEndpoint, tmp_path: Path) -> None:
    handle = endpoint()
    with pytest.raises(EndpointError, match=r"(?s)ended with status 1.*manifest\.json") as caught:
        handle.start(serve=ModelRef(version=1, folder=tmp_path / "nowhere"))
    assert str(tmp_path / "rentals" / "endpoint" / LOG) in caught.value.remedy
    assert handle.record() is None


def test_stop_ends_only_the_recorded_process(endpoint: MakeEndpoint, tmp_path: Path) -> None:
    handle = endpoint()
    words = "import time; print('here', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", words, "mlops_assets.serving.app"]
    other = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        # a process that was just started has no command line yet
        assert other.stdout is not None and other.stdout.readline() == b"here\n"
        started = psutil.Process(other.pid).create_time()
        path = tmp_path / "rentals" / "endpoint" / PROCESS
        record = ServiceProcess(pid=other.pid, started=started - 100, host="127.0.0.1", port=1, settings="")
        write_text(path, record.model_dump_json())
        assert handle.record() is None
        assert handle.stop() is False
        assert other.poll() is None
        # same pid and same start time
        write_text(path, record.model_copy(update={"started": started}).model_dump_json())
        assert handle.stop() is True
        other.wait(5)
    finally:
        other.kill()
        other.communicate()


def test_invalid_process_record_error_names_the_file(endpoint: MakeEndpoint, tmp_path: Path) -> None:
    path = tmp_path / "rentals" / "endpoint" / PROCESS
    write_text(path, "{}")
    handle = endpoint()
    with pytest.raises(EndpointError, match=PROCESS):
        handle.start()
    path.unlink()


def test_hanging_start_is_reported_in_time_and_ended(endpoint: MakeEndpoint, tmp_path: Path) -> None:
    handle = endpoint()
    handle.folder.mkdir(parents=True)
    before = set(CHILDREN)
    with (
        FileLock(handle.folder / RUNNING),  # a predecessor that does not end
        pytest.raises(EndpointError, match="does not respond in time"),
    ):
        handle.start(within=2)
    assert set(CHILDREN) == before
    assert handle.record() is None


def test_proxies_of_the_environment_are_not_used(
    endpoint: MakeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    handle = endpoint()
    assert not handle._client._mounts


def test_exclusive_serialises_promotions(endpoint: MakeEndpoint) -> None:
    order: list[str] = []

    def wait_for_it() -> None:
        with endpoint().exclusive():
            order.append("second")

    with endpoint().exclusive():
        thread = threading.Thread(target=wait_for_it)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_connection_error_names_the_log(endpoint: MakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = endpoint()
    record = ServiceProcess(pid=os.getpid(), started=0, host="127.0.0.1", port=9, settings="")
    monkeypatch.setattr(handle, "record", lambda: record)
    with pytest.raises(EndpointError, match="no response: ConnectError") as caught:
        handle.status()
    assert LOG in caught.value.remedy
    monkeypatch.undo()
    assert isinstance(caught.value.__cause__, httpx.TransportError)
