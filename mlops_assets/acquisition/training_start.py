"""Starts a training: takes its snapshot, unless it is no longer wanted or earlier work is outstanding."""

from __future__ import annotations

from datetime import datetime

from mlops_assets.acquisition.snapshot import take_snapshot
from mlops_assets.context import ProjectContext, RunArtifacts, Snapshot
from mlops_assets.errors import Refused, WorkOutstanding
from mlops_assets.evaluation.splits import too_few_unseen_rows, unseen_from
from mlops_assets.ledger.facts import WindowLabelled
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.outstanding import outstanding, required_before_training
from mlops_assets.retraining.requests import TrainingRequest, request_retraining
from mlops_assets.timeline import iso

SNAPSHOT = "snapshot.json"


def start_training(
    context: ProjectContext, artifacts: RunArtifacts, training_request: TrainingRequest
) -> Snapshot | str:
    """Take the training snapshot of a run, or return why the training is skipped.

    Raises:
        WorkOutstanding: windows or labels that are due are not published; for a snapshot by hand, also predictions.
        Refused: a person requested the training, and there are too few rows that the champion was not trained on.
    """
    view, now = context.ledger_view(), context.now()
    if training_request.decision is not None and view.is_closed(training_request.decision):
        consumed = f"the evidence of decision {training_request.decision} has been consumed meanwhile"
        context.ledger.append(
            context.spec.name, training_request.started(now), training_request.ended("SKIPPED", now, reason=consumed)
        )
        return consumed
    _require_no_outstanding_work(context, view, training_request)
    if training_request.by == "person" and (reason := too_few_unseen(context, view)) is not None:
        context.ledger.append(
            context.spec.name, training_request.started(now), training_request.ended("SKIPPED", now, reason=reason)
        )
        raise Refused(context.spec.name, "retrain", reason, "wait for more labelled windows")
    if training_request.by != "hand":
        context.ledger.append(context.spec.name, training_request.started(now))
    snapshot = take_snapshot(context.snapshots, context.lake, context.timeline, now)
    artifacts.put(SNAPSHOT, snapshot.model_dump_json())
    return snapshot


def with_recorded_decision(context: ProjectContext, training_request: TrainingRequest) -> TrainingRequest:
    """Record a retraining that a person started in the UI as a request with all active triggers."""
    if training_request.by != "person" or training_request.decision is not None:
        return training_request
    decision = request_retraining(context.ledger, context.timeline, training_request.run_id, context.now())
    return TrainingRequest(
        f"{decision.id}:1", decision.id, 1, "person", training_request.run_id, training_request.force
    )


def too_few_unseen(context: ProjectContext, view: LedgerView) -> str | None:
    """Return why a candidate could not be evaluated now; None when there are enough unseen labelled rows."""
    if view.deployment_period is None:
        return None
    as_of = view.versions[view.deployment_period.version].as_of
    since = unseen_from(context.timeline, as_of)
    rows = sum(_rows_since(context, fact, since) for fact in view.labelled.values())
    if (reason := too_few_unseen_rows(context.spec, rows)) is None:
        return None
    return f"{reason} since version {view.deployment_period.version} was trained (as of {iso(as_of)})"


def _rows_since(context: ProjectContext, labels: WindowLabelled, since: datetime) -> int:
    """Return the number of labelled rows of a window at or after a moment. Rows are read only where it is needed."""
    window = context.timeline.window(labels.window)
    if window.end <= since:
        return 0
    if window.start >= since:
        return labels.rows
    return int((context.labels({labels.window: labels.data_version})["event_time"] >= since).sum())


def _require_no_outstanding_work(context: ProjectContext, view: LedgerView, training_request: TrainingRequest) -> None:
    """Refuse a training while work that must precede it is outstanding.

    Predictions that fell due since the training was launched need not be made first: the champion makes them before the
    new version is promoted. Otherwise, by the wall clock, no training could ever start.
    """
    left = required_before_training(outstanding(context.timeline, view, context.now()), training_request.by)
    if left:
        raise WorkOutstanding(
            context.spec.name,
            "dataset",
            f"{left[0].key} is outstanding",
            "let the sensors finish, or materialize raw_data and labels of these windows and run the score job first",
        )
