"""Failed runs of a project's loop: which there are, and whether they were interrupted."""

from __future__ import annotations

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.execution.plan.objects import StepFailureData
from dagster_shared.error import SerializableErrorInfo

from mlops_assets.errors import DagsterUnreachable, Unreachable, WorkOutstanding
from mlops_assets.ledger.database import PERMANENT_FAILURES

LOOP_TAG, WORK_TAG = "mlops/loop", "mlops/work"
DAGSTER_STOPPED = "Dagster or the machine was stopped while the run was in progress"
"""Part of the failure message of a run whose process ended because Dagster itself was stopped."""


def failed_runs(instance: dg.DagsterInstance, project: str, key: str) -> list[dg.DagsterRun]:
    """Return the failed and canceled runs of an item of work, newest first; `key` is the work's key."""
    statuses = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    return list(instance.get_runs(dg.RunsFilter(tags={LOOP_TAG: project, WORK_TAG: key}, statuses=statuses)))


def was_interrupted(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a training's run failed for a reason that does not count as a failed attempt.

    A server did not answer, the machine was stopped, or other work fell due before the training began and has to be
    done first.
    """
    return not counts_as_failure(instance, run) or WorkOutstanding.__name__ in _error_names(instance, run)


def counts_as_failure(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a failed run failed by its own work: all servers answered, and the machine was not stopped."""
    return not (server_was_unreachable(instance, run) or was_lost(instance, run))


def was_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a run ended because Dagster or the machine was stopped, or because it never started."""
    for event in _failures(instance, run):
        data = event.event_specific_data
        if isinstance(data, JobFailureData) and data.failure_reason == RunFailureReason.START_TIMEOUT:
            return True
        if DAGSTER_STOPPED in (event.message or ""):
            return True
    return False


def server_was_unreachable(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a run failed because a server did not answer.

    Dagster stores errors as text, so the class is recognized by its name. Dagster's own storage is a server too. A run
    that could not write its end there is marked as failed by Dagster's run monitoring without an error, and is not
    recognized.
    """
    return bool({error.__name__ for error in _subclasses(Unreachable)} & _error_names(instance, run))


def _error_names(instance: dg.DagsterInstance, run: dg.DagsterRun) -> set[str]:
    """Return the class names of all errors of a failed run, and of their causes."""
    # a run that Dagster marked as failed (its worker died, it could not be launched) has no error data
    failures = [each.event_specific_data for each in _failures(instance, run)]
    errors = [each.error for each in failures if isinstance(each, StepFailureData | JobFailureData)]
    return {name for error in errors if error is not None for name in _class_names(error)}


def _failures(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[dg.DagsterEvent]:
    """Return the events in which steps of a failed run, or the run itself, were recorded as failed."""
    if run.status != dg.DagsterRunStatus.FAILURE:
        return []
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    return [entry.dagster_event for entry in instance.all_logs(run.run_id, of_type=kinds) if entry.dagster_event]


def _subclasses(error: type[Unreachable]) -> list[type[Unreachable]]:
    return [error, *(found for kind in error.__subclasses__() for found in _subclasses(kind))]


def _class_names(error: SerializableErrorInfo) -> set[str]:
    """Return the class names of an error and of its causes.

    SQLAlchemy's error around one of psycopg2's, which comes from Dagster's storage, counts as DagsterUnreachable.
    """
    found = {str(error.cls_name)}
    from_psycopg2 = found & {"OperationalError", "InterfaceError"} and "psycopg2." in error.message
    if from_psycopg2 and not any(each in error.message for each in PERMANENT_FAILURES):
        found = {DagsterUnreachable.__name__}
    return found if error.cause is None else found | _class_names(error.cause)
