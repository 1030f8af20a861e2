"""Advance a replay clock from moment to moment, and wait at each until the loop is idle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Protocol

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus
from filelock import FileLock, Timeout

from mlops_assets.context import ProjectContext
from mlops_assets.errors import PlatformError, Refused, Unreachable
from mlops_assets.ledger.lease import LeaseHolder
from mlops_assets.loop.dagster_storage import lease_holder, translate_storage_errors
from mlops_assets.loop.failed_runs import LOOP_TAG, counts_as_failure, failed_runs
from mlops_assets.loop.outstanding import Work, outstanding
from mlops_assets.timeline import iso
from mlops_assets.waiting import OnUnreachable, wait_for_server

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
MAX_FAILED_RUNS = 4
"""Number of failed runs of the same work after which a replay stops. The sensors still retry the work."""
POLL_SECONDS = 0.3
"""Seconds between two checks whether the loop is idle."""
HEARTBEAT_WITHIN = timedelta(seconds=90)
"""A daemon whose last heartbeat is older than this does not run."""

log = logging.getLogger(__name__)


def log_unreachable(error: Unreachable) -> None:
    """Log that a server does not answer."""
    log.warning(str(error))


class ReplayStopped(PlatformError):  # noqa: N818 - what happened says more than `Error` would
    """The loop cannot become idle without a person."""


class Loop(Protocol):
    """Runs the loop's work: Dagster's daemon, or a test that ticks the sensors itself."""

    def run_until_idle(self) -> None:
        """Return when no work is outstanding and no run is active."""

    def on_unreachable(self, error: Unreachable) -> None:
        """Handle the error of a request that found no server; the request is sent again."""


def advance(
    project_context: ProjectContext, loop: Loop, *, windows: int | None = None, until: datetime | None = None
) -> Iterator[datetime]:
    """Move a replay clock, and yield each moment when the loop is idle at it.

    When a server does not answer, it waits for the server: a replay of hours must not end because of a restart.

    Args:
        project_context: the project and its resources.
        loop: runs the work.
        windows: stop when this number of further windows has ended; None: no limit.
        until: stop at this time; the clock is moved there. None: no limit.

    Raises:
        Refused: the clock is a wall clock, it would be moved backwards, or another replay moves it now.
        ReplayStopped: the loop cannot become idle.
    """
    timeline = project_context.timeline
    try:
        held = FileLock(project_context.folder / "replay.lock").acquire(timeout=0)
    except Timeout as error:
        raise Refused(
            project_context.spec.name, "clock", "another replay is moving it", "wait until the other replay has ended"
        ) from error
    with held:
        now = wait_for_server(project_context.now, loop.on_unreachable)
        _move_to(now if until is None else min(until, now), project_context, loop)
        passed = 0
        while windows is None or passed < windows:
            moment = timeline.next_moment(now)
            if moment is None or (until is not None and moment > until):
                break
            now = _move_to(moment, project_context, loop)
            yield moment
            passed += any(timeline.readable_at(window) == moment for window in timeline.ended_windows(moment)[-1:])
        if until is not None and until > now:
            yield _move_to(until, project_context, loop)


def _move_to(moment: datetime, project_context: ProjectContext, loop: Loop) -> datetime:
    """Move the clock to a moment, wait until the loop is idle, and return the moment."""
    wait_for_server(lambda: project_context.clock.move(moment), loop.on_unreachable)
    wait_for_server(loop.run_until_idle, loop.on_unreachable)
    return moment


@dataclass
class DagsterLoop:
    """The loop as Dagster's daemon runs it. This object only watches the daemon.

    Args:
        instance: Dagster's instance.
        context: the project and its resources.
        watch: called at each check with the outstanding work.
        report_unreachable: called with the error of each request that found no server.
    """

    instance: dg.DagsterInstance
    context: ProjectContext
    watch: Callable[[list[Work]], None] = lambda work: None
    report_unreachable: OnUnreachable = log_unreachable
    counted_runs: dict[str, bool] = field(default_factory=dict, init=False)
    """By id of a failed run, whether it counts as a failure. This is read once per run, because it does not change."""
    begun: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)
    last_unreachable: datetime = field(default=datetime.fromtimestamp(0, UTC), init=False)
    """When a request last found no server."""

    def run_until_idle(self) -> None:
        """Wait until no work is outstanding and no run of the project's loop is active.

        Raises:
            ReplayStopped: another Dagster runs the loop, a sensor that is needed is off, the daemon does not run, or
                a run keeps failing.
        """
        while not wait_for_server(self._is_idle, self.on_unreachable):
            time.sleep(POLL_SECONDS)

    def _is_idle(self) -> bool:
        with translate_storage_errors(self.context.spec.name):
            self._require_lease()
            # Runs first: only runs write facts, so when none is active, the ledger does not change after it is read.
            active = active_runs(self.instance, self.context.spec.name)
            work = outstanding(self.context.timeline, self.context.ledger_view(), self.context.now())
            self.watch(work)
            if not work and not active:
                return True
            if work:
                self._require_sensor(work[0])
                self._require_progress(work[0])
            self._require_daemon()
            return False

    def on_unreachable(self, error: Unreachable) -> None:
        """Report the error, and note the time: the daemon may have been unable to write its heartbeat too."""
        self.last_unreachable = datetime.now(UTC)
        self.report_unreachable(error)

    def _require_sensor(self, work: Work) -> None:
        name = f"{self.context.spec.name}_{work.sensor}"
        for state in self.instance.all_instigator_state():
            if state.instigator_name == name and state.status == InstigatorStatus.STOPPED:
                raise ReplayStopped(
                    self.context.spec.name,
                    f"sensor {name}",
                    f"it is off, and {work.key} needs it",
                    "switch it on in the UI (Automation), then start the replay again",
                )

    def _require_progress(self, work: Work) -> None:
        failed = failed_runs(self.instance, self.context.spec.name, work.key)
        if not failed or not self._ended_in_this_replay(failed[0]):
            # the cause may have been repaired before this replay began: the sensors' next attempt shows it
            return
        if sum(self._counts_as_failure(run) for run in failed) >= MAX_FAILED_RUNS:
            raise ReplayStopped(
                self.context.spec.name,
                f"run {failed[0].run_id}",
                f"{work.key} has failed {len(failed)} times",
                "look at the run in the UI and repair the cause, then start the replay again",
            )

    def _ended_in_this_replay(self, run: dg.DagsterRun) -> bool:
        record = self.instance.get_run_record_by_id(run.run_id)
        return record is not None and record.update_timestamp >= self.begun

    def _counts_as_failure(self, run: dg.DagsterRun) -> bool:
        if run.run_id not in self.counted_runs:
            self.counted_runs[run.run_id] = counts_as_failure(self.instance, run)
        return self.counted_runs[run.run_id]

    @cached_property
    def _holder(self) -> LeaseHolder:
        return lease_holder(self.instance)

    def _require_lease(self) -> None:
        if (conflict := self.context.lease.conflict(self._holder)) is not None:
            raise ReplayStopped(
                self.context.spec.name,
                "the project's loop",
                str(conflict),
                "start the replay with the DAGSTER_HOME of the Dagster that runs the loop (mlops-assets dagster-home)",
            )

    def _require_daemon(self) -> None:
        beats = [beat.timestamp for beat in self.instance.get_daemon_heartbeats().values()]
        newest = datetime.fromtimestamp(max(beats, default=0), UTC)
        if datetime.now(UTC) - max(newest, self.last_unreachable) > HEARTBEAT_WITHIN:
            raise ReplayStopped(
                self.context.spec.name,
                "Dagster's daemon",
                f"its last heartbeat was at {iso(newest)}",
                "start `dagster dev` in the project's folder, then start the replay again; if it runs already, it uses "
                "another state folder: start it with DAGSTER_HOME=$(mlops-assets dagster-home)",
            )


def active_runs(instance: dg.DagsterInstance, project: str) -> list[dg.DagsterRun]:
    """Return the runs of a project's loop that have not ended."""
    return list(instance.get_runs(dg.RunsFilter(tags={LOOP_TAG: project}, statuses=ACTIVE)))
