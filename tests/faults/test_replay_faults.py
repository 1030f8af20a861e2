"""A replay that cannot continue says why, and what to do."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
import sqlalchemy as sa
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, SensorInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat
from dagster_postgres.utils import DagsterPostgresException
from example_project import ATTRIBUTES, TRAINED, example_project, running_harness
from filelock import FileLock

from mlops_assets.acquisition import assets
from mlops_assets.cli.instance import instance_of
from mlops_assets.errors import DagsterError, DagsterUnreachable, LedgerUnreachable, Refused, Unreachable
from mlops_assets.loop import replay
from mlops_assets.loop.dagster_storage import translate_storage_errors
from mlops_assets.loop.failed_runs import server_was_unreachable
from mlops_assets.loop.outstanding import Work, outstanding
from mlops_assets.loop.replay import MAX_FAILED_RUNS, DagsterLoop, ReplayStopped, advance
from mlops_assets.resources.clock import Clock
from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.settings import Settings
from mlops_assets.retraining.retries import LONGEST_PAUSE
from mlops_assets.sensors import run_requests
from mlops_assets.spec import ProjectSpec

DAY = timedelta(days=1)


class Still:
    """A loop without any outstanding work."""

    def run_until_idle(self) -> None:
        """Return at once."""

    def on_unreachable(self, error: Unreachable) -> None:
        """Ignore the error."""
        raise AssertionError(error)


@pytest.fixture
def project_context(tmp_path: Path) -> ProjectResources:
    """A project without any run: windows before the start of its clock have to be published."""
    return ProjectResources(example_project(), Settings(home=tmp_path))


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance as `dagster dev` uses it in this state folder; no daemon has ever run there."""
    monkeypatch.chdir(tmp_path)  # opening the instance changes the folder; this restores it
    with instance_of(Settings(home=tmp_path / "home")) as found:
        yield found


@pytest.fixture
def alive(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """The same instance; its daemon has just sent a heartbeat."""
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "an id", []))
    return instance


def switch(instance: dg.DagsterInstance, sensor: str, status: InstigatorStatus) -> None:
    """Store the state of a sensor, as a click on its switch in the UI does."""
    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file="definitions.py"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), sensor)
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, status, SensorInstigatorData()))


def test_replay_stops_and_names_a_required_sensor_that_is_off(
    project_context: ProjectResources, alive: dg.DagsterInstance
) -> None:
    switch(alive, "example_late_labels", InstigatorStatus.STOPPED)  # no work depends on this one
    switch(alive, "example_live_data", InstigatorStatus.STOPPED)
    with pytest.raises(ReplayStopped, match=r"sensor example_live_data: it is off, and observe:labelled:.* needs it"):
        list(advance(project_context, DagsterLoop(alive, project_context), windows=1))


def test_replay_stops_and_names_a_run_that_keeps_failing(
    project_context: ProjectResources, alive: dg.DagsterInstance
) -> None:
    work = outstanding(project_context.timeline, project_context.ledger_view(), project_context.now())[0]

    @dg.job(name="example_observe")
    def job() -> None:
        """Replaces the real job; only its runs matter."""

    def failing(times: int) -> dg.DagsterRun:
        tags = {"mlops/loop": "example", "mlops/work": work.key}
        runs = [alive.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags) for _ in range(times)]
        for run in runs:
            alive.report_run_failed(run)
        return runs[-1]

    loop = DagsterLoop(alive, project_context)
    last = failing(MAX_FAILED_RUNS)
    with pytest.raises(ReplayStopped, match=f"run {last.run_id}: {work.key} has failed {MAX_FAILED_RUNS} times"):
        list(advance(project_context, loop, windows=1))
    # started again after the cause was removed, it waits for the next attempt
    again = DagsterLoop(alive, project_context)
    again._require_progress(work)
    failing(1)
    with pytest.raises(ReplayStopped, match=f"has failed {MAX_FAILED_RUNS + 1} times"):
        again._require_progress(work)


def test_replay_waits_for_a_server_without_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run loses the connection to the ledger. The sensor requests it again, after pauses up to the longest one."""

    def away(*_: Any, **__: Any) -> Any:
        raise LedgerUnreachable("example", "PostgreSQL", "it does not answer", "start it")

    with running_harness(tmp_path) as harness:
        loop = DagsterLoop(harness.instance, harness.context)
        (work, *_) = outstanding(harness.context.timeline, harness.context.ledger_view(), harness.context.now())
        with monkeypatch.context() as patch:
            patch.setattr(assets, "publish", away)
            patch.setattr(run_requests, "PAUSE", timedelta(0))
            for _ in range(MAX_FAILED_RUNS + 3):
                request = harness.tick("live_data")
                assert isinstance(request, dg.RunRequest)
                failed = harness.carry_out(request)
                assert failed is not None and not failed.success
        loop._require_progress(work)
        waiting = harness.tick("live_data")
        assert isinstance(waiting, dg.SkipReason)
        found = re.search(r"has failed 7 times, .* the next attempt starts at (\S+)$", str(waiting.skip_message))
        assert found and datetime.now(UTC) < datetime.fromisoformat(found[1]) < datetime.now(UTC) + LONGEST_PAUSE


def test_replay_stops_when_no_daemon_runs(project_context: ProjectResources, instance: dg.DagsterInstance) -> None:
    with pytest.raises(ReplayStopped, match=r"Dagster's daemon: .* start `dagster dev`"):
        list(advance(project_context, DagsterLoop(instance, project_context), windows=1))


def without_storage(monkeypatch: pytest.MonkeyPatch, kind: str, times: int) -> None:
    """Let the first calls of Dagster's storage fail, with the errors of psycopg2 and dagster-postgres."""
    original, left = dg.DagsterInstance.get_runs, [times]

    def get_runs(instance: dg.DagsterInstance, *args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            gone = sa.exc.OperationalError("SELECT 1", {}, psycopg2.OperationalError(kind))
            raise DagsterPostgresException("too many retries for DB connection") from gone
        return original(instance, *args, **kwargs)

    monkeypatch.setattr(dg.DagsterInstance, "get_runs", get_runs)


def test_daemon_gets_time_to_return_after_its_storage_was_down(
    project_context: ProjectResources, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_storage(monkeypatch, "server closed the connection unexpectedly", times=2)
    monkeypatch.setattr(replay, "HEARTBEAT_WITHIN", timedelta(seconds=3))
    looks, errors = list[list[Work]](), list[Unreachable]()
    with pytest.raises(ReplayStopped, match="Dagster's daemon"):
        list(
            advance(
                project_context,
                DagsterLoop(instance, project_context, watch=looks.append, report_unreachable=errors.append),
                windows=1,
            )
        )
    assert [type(error) for error in errors] == [DagsterUnreachable] * 2
    assert "server closed the connection unexpectedly" in str(errors[0])
    assert len(looks) > 1


def test_daemon_gets_time_to_return_after_the_clock_could_not_move(
    project_context: ProjectResources, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, looks, errors = Clock.move, list[list[Work]](), list[Unreachable]()

    def move(clock: Clock, to: datetime) -> None:
        if not errors:
            raise LedgerUnreachable("example", "PostgreSQL", "it does not answer", "start it")
        moved(clock, to)

    monkeypatch.setattr(Clock, "move", move)
    monkeypatch.setattr(replay, "HEARTBEAT_WITHIN", timedelta(seconds=3))
    loop = DagsterLoop(instance, project_context, watch=looks.append, report_unreachable=errors.append)
    with pytest.raises(ReplayStopped, match="Dagster's daemon"):
        list(advance(project_context, loop, windows=1))
    assert len(errors) == 1
    assert len(looks) > 1


@pytest.mark.parametrize("kind", [sa.exc.InterfaceError, sa.exc.DatabaseError, sa.exc.OperationalError])
def test_broken_connection_is_an_outage_with_every_driver(kind: type[sa.exc.DBAPIError]) -> None:
    broken = kind("SELECT 1", {}, psycopg2.InterfaceError("connection already closed"), connection_invalidated=True)
    with pytest.raises(DagsterUnreachable, match="connection already closed"), translate_storage_errors("example"):
        raise broken


def test_run_without_dagsters_storage_had_an_unreachable_server(alive: dg.DagsterInstance) -> None:
    @dg.op
    def lose() -> None:
        raise sa.exc.OperationalError("SELECT 1", {}, psycopg2.OperationalError("server closed the connection"))

    @dg.op
    def fail() -> None:
        raise sa.exc.OperationalError("SELECT 1", {}, sqlite3.OperationalError("disk I/O error"))

    @dg.op
    def refused() -> None:
        raise sa.exc.OperationalError("SELECT 1", {}, psycopg2.OperationalError("password authentication failed"))

    found = []
    for op in (lose, fail, refused):
        result = op_job(op).execute_in_process(instance=alive, raise_on_error=False)
        found.append(server_was_unreachable(alive, result.dagster_run))
    assert found == [True, False, False]


def op_job(op: dg.OpDefinition) -> dg.JobDefinition:
    @dg.job
    def job() -> None:
        op()

    return job


def test_replay_does_not_wait_for_a_storage_that_refuses(
    project_context: ProjectResources, alive: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_storage(monkeypatch, 'password authentication failed for user "dagster"', times=1)
    with pytest.raises(DagsterError, match="its database refused a request: password authentication failed") as found:
        list(advance(project_context, DagsterLoop(alive, project_context), windows=1))
    assert not isinstance(found.value, Unreachable)


def test_second_replay_is_refused_while_one_runs(project_context: ProjectResources) -> None:
    first = advance(project_context, Still(), windows=2)
    assert next(first) == TRAINED + DAY
    with pytest.raises(Refused, match="another replay is moving it"):
        next(advance(project_context, Still(), windows=1))
    assert list(first) == [TRAINED + 2 * DAY]
    assert list(advance(project_context, Still(), windows=1)) == [TRAINED + 3 * DAY]
    with FileLock(project_context.folder / "replay.lock", timeout=0):
        pass


def test_replay_releases_its_lock_at_the_end(
    project_context: ProjectResources, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FileLock] = []

    def kept(path: Path) -> FileLock:
        made.append(FileLock(path))
        return made[-1]

    monkeypatch.setattr(replay, "FileLock", kept)
    list(advance(project_context, Still(), windows=1))
    begun = advance(project_context, Still(), windows=2)
    next(begun)
    assert [lock.is_locked for lock in made] == [False, True]
    begun.close()  # type: ignore[attr-defined]
    assert [lock.is_locked for lock in made] == [False, False]


def test_replay_refuses_an_earlier_time(project_context: ProjectResources) -> None:
    list(advance(project_context, Still(), windows=2))
    with pytest.raises(Refused, match="it is at 2020-01-23T00:00:00Z and cannot go back to 2020-01-22T00:00:00Z"):
        list(advance(project_context, Still(), until=TRAINED + DAY))
    assert project_context.now() == TRAINED + 2 * DAY


def test_wall_clock_is_not_replayed(tmp_path: Path) -> None:
    spec = ProjectSpec.model_validate(ATTRIBUTES | {"clock": {"type": "wall"}})
    project_context = ProjectResources(spec, Settings(home=tmp_path))
    for how in ({"windows": 1}, {"until": datetime(2030, 1, 1, tzinfo=UTC)}):
        with pytest.raises(Refused, match="uses the system's clock"):
            list(advance(project_context, Still(), **how))  # type: ignore[arg-type]


def test_replay_until_a_time_ends_at_that_time(project_context: ProjectResources) -> None:
    until = TRAINED + 1.5 * DAY
    assert list(advance(project_context, Still(), until=until)) == [TRAINED + DAY, until]
    assert project_context.now() == until
