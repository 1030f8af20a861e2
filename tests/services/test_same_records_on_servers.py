"""A replay with embedded stores, and on servers of which one after the other fails: both give the same records."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from canonical_records import canonical, differences
from dashboard_queries import flux_queries
from faulty_proxy import FaultyProxy, proxy_to
from live import all_servers
from prediction_logs import forwarding
from project_replays import ProjectReplay, bootstrapped_replay
from servers import Server
from simulated_projects import HOUR, at, simulated_project
from test_dashboards import rows

from mlops_assets.dashboards.overview import overview_dashboard
from mlops_assets.dashboards.project import project_dashboard
from mlops_assets.errors import LedgerUnreachable
from mlops_assets.resources.scoring.endpoint import Endpoint
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.resources.settings import Settings
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import iso

WINDOWS = 9
OUTAGE = timedelta(minutes=2)
"""Duration of InfluxDB's outage: runs fail meanwhile, and the loop continues without manual action."""
KILLED_AT = at(5) + 12 * HOUR
"""A moment within a window: after its last request, the request of the repair would count in the next window."""
REPEATED = {iso(at(5))}
"""Windows in which the endpoint is killed."""
pytestmark = pytest.mark.timeout(1200)


def turning() -> ProjectSpec:
    """Return a project that retrains once: from the fourth window on its target depends differently on its inputs."""
    policy = {
        "when": {"type": "performance", "ratio": 1.5, "first": 2, "last": 2},
        "cooldown": "4d",
        "min_new_rows": 24,
        "warm_up": "2d",
    }
    return simulated_project("twins", {"break_at": at(3).isoformat()}, retraining=policy)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectReplay]:
    with bootstrapped_replay(turning(), tmp_path_factory.mktemp("embedded") / "state") as play:
        play.advance(windows=WINDOWS)
        yield play


@pytest.fixture(scope="module")
def on_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectReplay]:
    folder = tmp_path_factory.mktemp("servers")
    with (
        all_servers(folder) as servers,
        proxy_to(servers["bucket"].url) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        environment = {name: value for server in servers.values() for name, value in server.environment().items()}
        for name, value in {**environment, "STORAGE_EMULATOR_HOST": proxy.url}.items():
            patch.setenv(name, value)
        home = folder / "state"
        home.mkdir()
        with forwarding(home, environment), bootstrapped_replay(turning(), home) as play:
            play.harness.longest_wait = 3 * OUTAGE
            for window in range(WINDOWS):
                with fault_of(window, play, servers, proxy):
                    until(play, window + 1)
            until(play, WINDOWS)
            yield play


def until(play: ProjectReplay, window: int) -> None:
    """Replay to the beginning of a window. A tick that does not reach the ledger is repeated, as the daemon does."""
    while True:
        with suppress(LedgerUnreachable):
            play.harness.advance(until=at(window))
            return


@contextmanager
def fault_of(window: int, play: ProjectReplay, servers: dict[str, Server], proxy: FaultyProxy) -> Iterator[None]:
    """Let servers fail while a window is replayed."""
    if window == 1:
        servers["MLflow"].stop()
        yield
        servers["MLflow"].start()
    elif window == 2:
        with repeatedly(servers["PostgreSQL"].restart, every=2.0):
            yield
    elif window == 4:
        proxy.fail("refuse", 2, "POST", "current.json")
        yield
        proxy.fail("lose", 1, "POST", "current.json")
        assert [fate for _, _, fate in proxy.seen].count("refuse") == 2
    elif window == 5:
        with killed_before_request(play, KILLED_AT) as killed:
            yield
        assert len(killed) == 1
        assert [fate for _, _, fate in proxy.seen].count("lose") == 1
    elif window == 6:
        servers["InfluxDB"].kill()
        starting = threading.Timer(OUTAGE.total_seconds(), servers["InfluxDB"].start)
        starting.start()
        failed = play.harness.runs.count(("observe", False))
        yield
        assert not starting.is_alive()
        assert play.harness.runs.count(("observe", False)) > failed
    else:
        yield


@contextmanager
def repeatedly(action: Callable[[], None], every: float) -> Iterator[None]:
    """Carry out an action at once, and repeat it at an interval (in seconds) during the block."""
    end = threading.Event()

    def repeat() -> None:
        action()
        while not end.wait(every):
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@contextmanager
def killed_before_request(play: ProjectReplay, moment: datetime) -> Iterator[list[int]]:
    """Kill the endpoint once, before the scorer's request of a moment; yield the ids of the killed processes."""
    killed: list[int] = []
    invoke = Endpoint.invoke

    def after_the_end(endpoint: Endpoint, *arguments: Any) -> list[dict[str, Any]]:
        if not killed and arguments[-1] == moment:
            killed.append(kill_endpoint(play))
        return invoke(endpoint, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Endpoint, "invoke", after_the_end)
        yield killed


def kill_endpoint(play: ProjectReplay) -> int:
    """Kill the service's process, and return its process id."""
    endpoint = play.context.endpoint
    assert isinstance(endpoint, EndpointProcess)
    record = endpoint.record()
    assert record is not None
    process = psutil.Process(record.pid)
    process.kill()
    # a killed child of this process stays a zombie until it is waited for
    process.wait(10)
    return record.pid


def test_records_on_servers_are_identical_to_embedded_ones(embedded: ProjectReplay, on_servers: ProjectReplay) -> None:
    found = [canonical(play.context) for play in (embedded, on_servers)]
    for records in found:
        for report in records["reports"]:
            if report["report"] == "health" and report["window"] in REPEATED:
                # the repeated request to the killed service is counted too
                del report["summary"]["requests"], report["summary"]["errors"]
    assert differences(*found) == []


def test_loop_has_retrained_and_promoted(on_servers: ProjectReplay) -> None:
    """The replay contains a retraining and a promotion, so the comparison is not empty."""
    history = on_servers.view
    assert [period.cause for period in history.deployment_periods] == ["bootstrap", "retraining"]
    assert on_servers.context.endpoint.serving() == history.deployment_periods[-1].version


def test_each_event_has_one_prediction_in_log_and_influxdb(on_servers: ProjectReplay) -> None:
    project_context = on_servers.context
    last = project_context.now() + project_context.timeline.horizon
    due = len(project_context.source.events(at(0) + project_context.timeline.horizon, last + timedelta(seconds=1)))
    assert not on_servers.view.missed
    assert (
        project_context.prediction_log.counts("twins")["answered"]
        == project_context.telemetry.counts("twins")["answered"]
        == due
    )


def test_embedded_stores_are_not_used(on_servers: ProjectReplay) -> None:
    home = Path(on_servers.context.home)
    assert not [home / name for name in ("ledger.db", "mlflow", "lake", "dvc-remote") if (home / name).exists()]


def test_every_dashboard_query_returns_rows_of_the_loop(on_servers: ProjectReplay) -> None:
    from influxdb_client import InfluxDBClient

    project_context, settings = on_servers.context, Settings()
    assert settings.influx_token is not None
    token, now = settings.influx_token.get_secret_value(), datetime.now(UTC)
    queries = [
        (title, query, at(0), at(WINDOWS), project_context.timeline.every)
        for title, query in flux_queries(project_dashboard(project_context.spec))
    ]
    queries += [
        (title, query, now - timedelta(hours=6), now + timedelta(minutes=1), timedelta(minutes=1))
        for title, query in flux_queries(overview_dashboard([project_context.spec]))
    ]
    with InfluxDBClient(str(settings.influx_url), token, org=settings.influx_org, timeout=60_000) as client:
        found = [(title, rows(client, query, start, stop, period)) for title, query, start, stop, period in queries]
    # this replay has no missed event and no quarantined window; test_dashboards.py queries hand-written ones
    assert {title for title, records in found if not records} == {"Missed events", "Windows in quarantine"}
