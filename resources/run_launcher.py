"""Dagster's default run launcher, which also notices that a run's process is gone.

On one machine Dagster starts each run in a process of its own and writes that process's id into the run's event log.
Its default launcher never looks at the process again: after a power failure, a reboot or a kill, the run stays STARTED
for ever. This launcher reports to Dagster's run monitoring whether the process still runs. Run monitoring then records
the run as failed and frees what it held.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import dagster as dg
import psutil
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

from mlops_assets.loop.failed_runs import DAGSTER_STOPPED

LOCAL = {"localhost", "127.0.0.1", "::1"}
ANSWER_WITHIN = 10
"""Seconds within which a code location's server answers."""
STARTED_WITHIN = 2.0
"""Tolerance in seconds: a process's start may seem later than the time at which it wrote its id, because the two times
come from different clocks of the system."""


class ProcessRunLauncher(DefaultRunLauncher):
    """Launches a run as a process of this machine, and says whether that process still runs."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return True: run monitoring asks this launcher about each run that has started."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return whether the process of a started run still runs.

        The process is looked up by its id if the code location's server is on this machine. Otherwise that server is
        queried: it started the process, and the process ends with it.

        Args:
            run: a run in status STARTED.

        Returns:
            RUNNING while the process runs, FAILED when it is gone. A run whose process is not known (its id was not
            written yet, or the server does not answer) is RUNNING, and is looked at again.
        """
        server = json.loads(run.tags.get(GRPC_INFO_TAG, "{}"))
        if server.get("host", "localhost") not in LOCAL:
            return self._ask_server(run)
        started = worker_process(self._instance, run.run_id)
        if started is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        pid, at = started
        if _runs(pid, at, run.run_id):
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(pid))
        since = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
        # this code runs in Dagster's daemon
        restarted = psutil.Process().create_time() > at
        reason = DAGSTER_STOPPED if restarted else "it was killed, perhaps because memory ran out"
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"process {pid}, started {since}, is gone: {reason}", run_worker_id=str(pid)
        )

    def _ask_server(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        client = self._get_grpc_client_for_termination(run.run_id)  # type: ignore[no-untyped-call]
        try:
            reply = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=ANSWER_WITHIN)
        except DagsterUserCodeUnreachableError:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if deserialize_value(reply, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"the code location's server no longer runs it: {DAGSTER_STOPPED}"
        )


def worker_process(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Return the id of a run's process, and when it wrote that id into the event log (POSIX seconds).

    A run has one process; the newest entry counts where Dagster wrote several.
    """
    found = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event is None or not isinstance(event.event_specific_data, EngineEventData):
            continue
        pid = event.event_specific_data.metadata.get("pid")
        if pid is not None:
            found = int(str(pid.value)), entry.timestamp
    return found


def _runs(pid: int, at: float, run_id: str) -> bool:
    """Return whether a process id still belongs to the run that wrote it at a moment."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.create_time() <= at + STARTED_WITHIN:
            return True
        # The system's clock was set forward, or another process has the id now: only the run has its logs open.
        return any(run_id in file.path for file in process.open_files())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        # a process of another user is not a run of this Dagster
        return False
