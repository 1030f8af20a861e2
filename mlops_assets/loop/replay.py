"""Moving a replay clock: from moment to moment, letting the loop come to rest at each."""

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
from mlops_assets.ledger.lease import Holder
from mlops_assets.loop.dagster_storage import asked, holder_of
from mlops_assets.loop.failed_runs import LOOP_TAG, failed_runs, lost_a_server
from mlops_assets.loop.outstanding import Work, outstanding
from mlops_assets.timeline import iso
from mlops_assets.waiting import Told, waited_for

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ATTEMPTS = 4
"""After so many failures of a run a replay stops: the sensors go on trying, but a person should look."""
LOOK_EVERY = 0.3
"""Seconds between two looks at whether the loop has come to rest."""
HEARTBEAT_WITHIN = timedelta(seconds=90)

log = logging.getLogger(__name__)


def logged(error: Unreachable) -> None:
    """Note that a server is waited for."""
    log.warning(str(error))


class ReplayStopped(PlatformError):  # noqa: N818 - what happened says more than `Error` would
    """The loop cannot come to rest without a person."""


class Loop(Protocol):
    """Whatever carries out the work: Dagster's daemon, or a test that ticks the sensors itself."""

    def run_until_idle(self) -> None:
        """Return when nothing is outstanding and no run is active."""

    def away(self, error: Unreachable) -> None:
        """Hear of a question that found no server, and is asked again."""


def advance(
    project_context: ProjectContext, loop: Loop, *, windows: int | None = None, until: datetime | None = None
) -> Iterator[datetime]:
    """Move a replay clock, yielding each moment once the loop has settled at it.

    A server that is away is waited for: a history of hours does not end because of a restart.

    Args:
        project context: the project's resources.
        loop: carries out the work, and hears of servers that are away.
        windows: stop after so many ends of windows.
        until: stop at this time; the clock then stands there.

    Raises:
        Refused: for a wall clock, backwards, or when somebody else moves this clock now.
        Stuck: when the loop cannot settle.
    """
    timeline = project_context.timeline
    try:
        held = FileLock(project_context.folder / "replay.lock").acquire(timeout=0)
    except Timeout as error:
        raise Refused(
            project_context.spec.name, "clock", "it is being moved already", "wait for the other replay to end"
        ) from error
    with held:
        now = waited_for(project_context.now, loop.away)
        _idle_at(now if until is None else min(until, now), project_context, loop)
        passed = 0
        while windows is None or passed < windows:
            moment = timeline.next_moment(now)
            if moment is None or (until is not None and moment > until):
                break
            now = _idle_at(moment, project_context, loop)
            yield moment
            passed += any(timeline.readable_at(window) == moment for window in timeline.ended_windows(moment)[-1:])
        if until is not None and until > now:
            yield _idle_at(until, project_context, loop)


def _idle_at(moment: datetime, project_context: ProjectContext, loop: Loop) -> datetime:
    """Put the clock there and let the loop come to rest; where it stands already, that is no move."""
    waited_for(lambda: project_context.clock.move(moment), loop.away)
    waited_for(loop.run_until_idle, loop.away)
    return moment


@dataclass
class DagsterLoop:
    """The loop as Dagster's daemon carries it out; settling means watching it.

    Args:
        instance: Dagster's instance.
        project context: the project's resources.
        watch: called at each look with what is outstanding.
        told: hears of each question that found no server.
    """

    instance: dg.DagsterInstance
    context: ProjectContext
    watch: Callable[[list[Work]], None] = lambda work: None
    told: Told = logged
    seen: dict[str, bool] = field(default_factory=dict, init=False)
    """Failed runs that were looked at, and whether a server was away: a run's end does not change."""
    begun: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)
    last_away: datetime = field(default=datetime.fromtimestamp(0, UTC), init=False)
    """When a question last found no server."""

    def run_until_idle(self) -> None:
        """Wait until nothing is outstanding and no run of the project's loop is active.

        Raises:
            Stuck: when another Dagster carries out the loop, a sensor that is needed is switched off, the daemon does
                not run, or a run keeps failing.
        """
        while not waited_for(self._at_rest, self.away):
            time.sleep(LOOK_EVERY)

    def _at_rest(self) -> bool:
        with asked(self.context.spec.name):
            self._require_lease()
            # Runs first: only they write facts, so if none is active, what the ledger says next is the last word.
            active = active_runs(self.instance, self.context.spec.name)
            work = outstanding(self.context.timeline, self.context.ledger_view(), self.context.now())
            self.watch(work)
            if not work and not active:
                return True
            if work:
                self._require_sensor(work[0])
                self._require_attempts(work[0])
            self._require_daemon()
            return False

    def away(self, error: Unreachable) -> None:
        """As `Loop`: nor could the daemon give a sign of life meanwhile."""
        self.last_away = datetime.now(UTC)
        self.told(error)

    def _require_sensor(self, work: Work) -> None:
        name = f"{self.context.spec.name}_{work.sensor}"
        for state in self.instance.all_instigator_state():
            if state.instigator_name == name and state.status == InstigatorStatus.STOPPED:
                raise ReplayStopped(
                    self.context.spec.name,
                    f"sensor {name}",
                    f"it is switched off, and {work.key} waits for it",
                    "switch it on in the UI (Automation), then go on with the replay",
                )

    def _require_attempts(self, work: Work) -> None:
        failed = failed_runs(self.instance, self.context.spec.name, work.key)
        if not failed or not self._ended_since(failed[0]):
            # somebody may have mended the cause before this replay was begun: the sensors' next attempt will tell
            return
        if len(failed) >= ATTEMPTS and sum(not self._lost_a_server(run) for run in failed) >= ATTEMPTS:
            raise ReplayStopped(
                self.context.spec.name,
                f"run {failed[0].run_id}",
                f"{work.key} has failed {len(failed)} times",
                "look at it in the UI and mend the cause, then go on with the replay: it waits for the next attempt",
            )

    def _ended_since(self, run: dg.DagsterRun) -> bool:
        record = self.instance.get_run_record_by_id(run.run_id)
        return record is not None and record.update_timestamp >= self.begun

    def _lost_a_server(self, run: dg.DagsterRun) -> bool:
        if run.run_id not in self.seen:
            self.seen[run.run_id] = lost_a_server(self.instance, run)
        return self.seen[run.run_id]

    @cached_property
    def _holder(self) -> Holder:
        return holder_of(self.instance)

    def _require_lease(self) -> None:
        if (conflict := self.context.lease.conflict(self._holder)) is not None:
            raise ReplayStopped(
                self.context.spec.name,
                "the project's loop",
                str(conflict),
                "go on with the replay on the one that runs: DAGSTER_HOME names it, see `mlops-assets dagster-home`",
            )

    def _require_daemon(self) -> None:
        beats = [beat.timestamp for beat in self.instance.get_daemon_heartbeats().values()]
        newest = datetime.fromtimestamp(max(beats, default=0), UTC)
        if datetime.now(UTC) - max(newest, self.last_away) > HEARTBEAT_WITHIN:
            raise ReplayStopped(
                self.context.spec.name,
                "Dagster's daemon",
                f"its last sign of life is of {iso(newest)}",
                "start `dagster dev` in the project's folder, then go on with the replay; if it runs, it is one on "
                "another state: start it with DAGSTER_HOME=$(mlops-assets dagster-home)",
            )


def active_runs(instance: dg.DagsterInstance, project: str) -> list[dg.DagsterRun]:
    """Runs of a project's loop that have not ended."""
    return list(instance.get_runs(dg.RunsFilter(tags={LOOP_TAG: project}, statuses=ACTIVE)))
