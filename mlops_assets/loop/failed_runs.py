"""Runs of a project's loop that failed, and whether a server's absence is why."""

from __future__ import annotations

import dagster as dg
from dagster._core.events import JobFailureData
from dagster._core.execution.plan.objects import StepFailureData
from dagster_shared.error import SerializableErrorInfo

from mlops_assets.errors import DagsterUnreachable, Unreachable, WorkOutstanding
from mlops_assets.ledger.database import REFUSED

LOOP_TAG, WORK_TAG = "mlops/loop", "mlops/work"


def failed_runs(instance: dg.DagsterInstance, project: str, key: str) -> list[dg.DagsterRun]:
    """Runs that were launched for a piece of work and failed, newest first."""
    statuses = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    return list(instance.get_runs(dg.RunsFilter(tags={LOOP_TAG: project, WORK_TAG: key}, statuses=statuses)))


def was_overtaken(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a training failed because something fell due before it began: that comes first, and then it again."""
    return WorkOutstanding.__name__ in _failed_by(instance, run)


def lost_a_server(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run failed because a server did not answer: such work is tried again for as long as that lasts.

    Dagster keeps a step's error as text: its class is known by name. Its own storage is a server too; a run that could
    not even note its end there is marked as failed by Dagster's monitoring, in words, and does not count.
    """
    return bool({error.__name__ for error in _kinds(Unreachable)} & _failed_by(instance, run))


def _failed_by(instance: dg.DagsterInstance, run: dg.DagsterRun) -> set[str]:
    """The class names of all errors that a run failed by, and of their causes."""
    if run.status != dg.DagsterRunStatus.FAILURE:
        return set()
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id, of_type=kinds) if entry.dagster_event]
    # one that others marked as failed (its worker died, it could not be launched) has a word instead of data
    failures = [each.event_specific_data for each in events if each.event_specific_data is not None]
    errors = [each.error for each in failures if isinstance(each, StepFailureData | JobFailureData)]
    return {name for error in errors if error is not None for name in _names(error)}


def _kinds(error: type[Unreachable]) -> list[type[Unreachable]]:
    return [error, *(found for kind in error.__subclasses__() for found in _kinds(kind))]


def _names(error: SerializableErrorInfo) -> set[str]:
    """Class names of an error and of its causes; psycopg2's come in SQLAlchemy's."""
    found = {str(error.cls_name)}
    broken = found & {"OperationalError", "InterfaceError"} and "psycopg2." in error.message
    if broken and not any(each in error.message for each in REFUSED):
        found = {DagsterUnreachable.__name__}
    return found if error.cause is None else found | _names(error.cause)
