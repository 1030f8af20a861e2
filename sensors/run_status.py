"""The sensor `run_status`: it records how runs ended.

It closes the MLflow runs of Dagster runs that ended, and writes the end of a training to the ledger when its run could
not do so itself. What it writes is keyed by the run's id, so a run that is seen twice is recorded once. A run whose end
cannot be recorded is reported in each tick and tried again; the runs after it do not wait for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
from pydantic import BaseModel

from mlops_assets.blueprint import Blueprint
from mlops_assets.context import ProjectContext
from mlops_assets.errors import Unreachable
from mlops_assets.ledger.facts import GateVerdict, TrainingEnded
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.failed_runs import was_interrupted
from mlops_assets.resources.compute.kubernetes import Cluster
from mlops_assets.resources.platform import Platform
from mlops_assets.retraining.requests import RunIdentity, TrainingRequest
from mlops_assets.retraining.retries import end_without_verdict

MLFLOW_STATUS = {
    dg.DagsterRunStatus.SUCCESS: "FINISHED",
    dg.DagsterRunStatus.FAILURE: "FAILED",
    dg.DagsterRunStatus.CANCELED: "KILLED",
}
NEW_RUNS, RETRIED_RUNS = 50, 20
"""How many runs one tick records at most: runs that ended since the last tick, and runs that are recorded late."""


class Cursor(BaseModel):
    """The sensor's cursor."""

    until: float | None = None
    """The end of the newest run that was looked at, in POSIX seconds."""
    unrecorded: list[str] = []
    """Ids of the runs among them whose end could not be recorded."""

    @classmethod
    def parse(cls, text: str | None) -> "Cursor":
        """Return the stored cursor. Earlier releases stored the number of seconds alone."""
        if not text:
            return cls()
        return cls.model_validate_json(text) if text.startswith("{") else cls(until=float(text))


def run_status(blueprints: list[Blueprint], default_status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Return the sensor, which serves all projects."""
    by_job = {blueprint.job(name): blueprint for blueprint in blueprints for name in ("bootstrap", "retrain")}
    by_asset = {blueprint.key(name): blueprint for blueprint in blueprints for name in ("candidate_model", "champion")}

    @dg.sensor(
        name="run_status",
        minimum_interval_seconds=1,
        default_status=default_status,
        description="Gives each MLflow run the status of its Dagster run, and records trainings that failed.",
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
        instance, cursor = context.instance, Cursor.parse(context.cursor)
        since = None if cursor.until is None else datetime.fromtimestamp(cursor.until, UTC)
        ended = dg.RunsFilter(statuses=list(MLFLOW_STATUS), updated_after=since)
        records = instance.get_run_records(ended, order_by="update_timestamp", ascending=True, limit=NEW_RUNS)
        retried, postponed = cursor.unrecorded[:RETRIED_RUNS], cursor.unrecorded[RETRIED_RUNS:]
        known = [run for run in map(instance.get_run_by_id, retried) if run is not None]
        runs = [*(record.dagster_run for record in records), *known]
        found = [(_project_of(run, by_job, by_asset), run) for run in runs]
        trainings = [(platform.of(blueprint.spec), run) for blueprint, run in found if blueprint is not None]
        failures = RecordingFailures(context, cursor)
        # MLflow comes last: the ledger, and Jobs that hold a node's memory, do not wait for an MLflow that is down.
        for project_context, run in trainings:
            with failures.collected(run):
                record_end_of_training(project_context, run, interrupted=was_interrupted(instance, run))
        if platform.settings.runs_on == "kubernetes":
            for run in runs:
                with failures.collected(run):
                    delete_step_jobs(run)
        for project_context, run in trainings:
            with failures.collected(run):
                project_context.registry.close_run(run.run_id, MLFLOW_STATUS[run.status])
        until = records[-1].update_timestamp.timestamp() if records else cursor.until
        return dg.SensorResult(
            skip_reason=failures.summary,
            cursor=Cursor(until=until, unrecorded=[*postponed, *failures.errors]).model_dump_json(),
        )

    return sensor


class RecordingFailures:
    """The runs of one tick whose end could not be recorded.

    Args:
        context: the context of the tick.
        cursor: the cursor that the tick began with.
    """

    def __init__(self, context: dg.SensorEvaluationContext, cursor: Cursor) -> None:
        self.context, self.before = context, set(cursor.unrecorded)
        self.errors: dict[str, str] = {}

    @contextmanager
    def collected(self, run: dg.DagsterRun) -> Iterator[None]:
        """Collect any error of the block under the run, and log it once.

        Raises:
            Unreachable: a server does not answer. The tick ends, and the next one looks at the same runs.
        """
        try:
            yield
        except Unreachable:
            raise
        except Exception as error:
            text = f"the end of {run.job_name} ({run.run_id}) cannot be recorded"
            if run.run_id not in self.before:
                self.context.log.exception(text)
            # the first error of a run is kept: that of the ledger, if MLflow fails too
            self.errors.setdefault(run.run_id, f"{text}: {error}")

    @property
    def summary(self) -> str | None:
        """The first three errors and the number of the others; None without errors."""
        if not self.errors:
            return None
        more = f"; and {len(self.errors) - 3} more" if len(self.errors) > 3 else ""
        return "; ".join([*self.errors.values()][:3]) + more + "; the next tick tries again"


def delete_step_jobs(run: dg.DagsterRun) -> None:
    """Delete the Kubernetes Jobs of a run's steps if the run did not succeed: they outlive a killed run worker."""
    if not run.is_success:
        labels = {"dagster/run-id": run.run_id, "app.kubernetes.io/component": "step_worker"}
        Cluster.around().delete_jobs(labels)


def _project_of(
    run: dg.DagsterRun, by_job: dict[str, Blueprint], by_asset: dict[dg.AssetKey, Blueprint]
) -> Blueprint | None:
    """Return the project whose training or evaluation a run was, also when assets were materialized by hand."""
    selected = run.asset_selection or frozenset()
    by_hand = (blueprint for key, blueprint in by_asset.items() if key in selected)
    return by_job.get(run.job_name) or next(by_hand, None)


def record_end_of_training(project_context: ProjectContext, run: dg.DagsterRun, *, interrupted: bool = False) -> None:
    """Write the end of a training or evaluation to the ledger, unless its run wrote it.

    Args:
        project_context: the project with its resources.
        run: a run that ended.
        interrupted: a server did not answer, or other work fell due before the training began.
    """
    request, view = project_context.training_request(RunIdentity.of(run)), project_context.ledger_view()
    if any(fact.run_id == run.run_id and fact.outcome != "TRAINED" for fact in view.ended_trainings):
        return
    started = next((fact for fact in view.started_trainings if fact.run_id == run.run_id), None)
    verdict = next((fact for fact in view.verdicts if fact.run_id == run.run_id), None)
    if verdict is not None:
        as_of, ended = verdict.as_of, _end_with_verdict(request, verdict)
    elif request.by == "hand" or run.status == dg.DagsterRunStatus.SUCCESS:
        return
    else:
        as_of = started.at if started is not None else project_context.now()
        ended = _end_without_verdict(project_context, view, request, as_of, interrupted=interrupted)
    project_context.ledger.append(project_context.spec.name, *([] if started else [request.started(as_of)]), ended)


def _end_with_verdict(request: TrainingRequest, verdict: GateVerdict) -> TrainingEnded:
    """Return the end of a training whose verdict is in the ledger, but whose run stopped before it recorded its end."""
    reason = f"{verdict.verdict}, recorded after its run had ended early"
    ended = request.ended("JUDGED", verdict.as_of, reason=reason)
    # as at the gate, an evaluation by hand clears active triggers too
    return ended.model_copy(update={"consumes": request.by != "bootstrap"})


def _end_without_verdict(
    project_context: ProjectContext, view: LedgerView, request: TrainingRequest, as_of: datetime, *, interrupted: bool
) -> TrainingEnded:
    """Return the end of a training without a verdict."""
    policy = project_context.spec.retraining
    end = end_without_verdict(view, request.decision, request.by, policy, interrupted=interrupted)
    what = "was interrupted: a server did not answer, or other work fell due first" if interrupted else "failed"
    return request.ended(end.outcome, as_of, reason=f"Dagster run {request.run_id} {what}", final=end.final)
