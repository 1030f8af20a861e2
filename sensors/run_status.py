"""`run_status`: the last word on runs that ended: closes MLflow runs as Dagster's ended, records failed trainings.

The only sensor that writes; what it writes is keyed by the run's id, so a run seen twice is recorded once. A run that
cannot be settled is said in each tick and tried again; those after it do not wait for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
from pydantic import BaseModel

from mlops_assets.blueprint import Blueprint
from mlops_assets.context import ProjectContext
from mlops_assets.errors import Unreachable
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.failed_runs import was_interrupted
from mlops_assets.resources.compute.kubernetes import Cluster
from mlops_assets.resources.platform import Platform
from mlops_assets.retraining.requests import RunIdentity, TrainingRequest
from mlops_assets.retraining.retries import end_without_verdict

STATUS = {
    dg.DagsterRunStatus.SUCCESS: "FINISHED",
    dg.DagsterRunStatus.FAILURE: "FAILED",
    dg.DagsterRunStatus.CANCELED: "KILLED",
}
MOST, AGAIN = 50, 20
"""Runs that a tick looks at: new ones, and those that an earlier tick could not settle."""


class Seen(BaseModel):
    """The sensor's cursor."""

    until: float | None = None
    """Runs that ended by then have been looked at (POSIX seconds)."""
    unrecorded: list[str] = []
    """Those among them whose end could not be recorded."""

    @classmethod
    def read(cls, cursor: str | None) -> "Seen":
        """From the cursor as it is kept; a lone number is one that an earlier release kept."""
        if not cursor:
            return cls()
        return cls.model_validate_json(cursor) if cursor.startswith("{") else cls(until=float(cursor))


def run_status(blueprints: list[Blueprint], default_status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """One sensor for all projects."""
    by_job = {blueprint.job(name): blueprint for blueprint in blueprints for name in ("bootstrap", "retrain")}
    by_asset = {blueprint.key(name): blueprint for blueprint in blueprints for name in ("candidate_model", "champion")}

    @dg.sensor(
        name="run_status",
        minimum_interval_seconds=1,
        default_status=default_status,
        description="Closes MLflow runs as Dagster's runs ended, and records trainings that failed.",
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult:
        instance, seen = context.instance, Seen.read(context.cursor)
        since = None if seen.until is None else datetime.fromtimestamp(seen.until, UTC)
        ended = dg.RunsFilter(statuses=list(STATUS), updated_after=since)
        records = instance.get_run_records(ended, order_by="update_timestamp", ascending=True, limit=MOST)
        again, later = seen.unrecorded[:AGAIN], seen.unrecorded[AGAIN:]
        known = [run for run in map(instance.get_run_by_id, again) if run is not None]
        runs = [*(record.dagster_run for record in records), *known]
        found = [(_project_of(run, by_job, by_asset), run) for run in runs]
        trainings = [(platform.of(blueprint.spec), run) for blueprint, run in found if blueprint is not None]
        unrecorded = UnrecordedRuns(context, seen)
        # The ledger and what holds a node's memory first: neither waits for an MLflow that cannot be reached.
        for project_context, run in trainings:
            with unrecorded.if_it_fails(run):
                record_run_end(project_context, run, interrupted=was_interrupted(instance, run))
        if platform.settings.runs_on == "kubernetes":
            for run in runs:
                with unrecorded.if_it_fails(run):
                    end_steps(run)
        for project_context, run in trainings:
            with unrecorded.if_it_fails(run):
                project_context.registry.close_run(run.run_id, STATUS[run.status])
        until = records[-1].update_timestamp.timestamp() if records else seen.until
        return dg.SensorResult(
            skip_reason=unrecorded.said,
            cursor=Seen(until=until, unrecorded=[*later, *unrecorded.errors]).model_dump_json(),
        )

    return sensor


class UnrecordedRuns:
    """The runs of one tick whose end could not be recorded.

    Args:
        context: of the tick.
        seen: the cursor it began with.
    """

    def __init__(self, context: dg.SensorEvaluationContext, seen: Seen) -> None:
        self.context, self.before = context, set(seen.unrecorded)
        self.errors: dict[str, str] = {}

    @contextmanager
    def if_it_fails(self, run: dg.DagsterRun) -> Iterator[None]:
        """Note the run when the block fails, whatever the reason; a server that is away ends the tick instead."""
        try:
            yield
        except Unreachable:
            raise
        except Exception as error:
            if run.run_id not in self.before:
                self.context.log.exception(f"the end of {run.job_name} ({run.run_id}) cannot be recorded")
            # the first thing that failed: the ledger's word comes before MLflow's
            self.errors.setdefault(run.run_id, f"the end of {run.job_name} ({run.run_id}) cannot be recorded: {error}")

    @property
    def said(self) -> str | None:
        """What the tick says of them."""
        if not self.errors:
            return None
        more = f"; and {len(self.errors) - 3} more" if len(self.errors) > 3 else ""
        return "; ".join([*self.errors.values()][:3]) + more + "; tried again"


def end_steps(run: dg.DagsterRun) -> None:
    """End what a run that did not succeed left: the steps of a killed run worker go on in Jobs of their own."""
    if not run.is_success:
        labels = {"dagster/run-id": run.run_id, "app.kubernetes.io/component": "step_worker"}
        Cluster.around().delete_jobs(labels)


def _project_of(
    run: dg.DagsterRun, by_job: dict[str, Blueprint], by_asset: dict[dg.AssetKey, Blueprint]
) -> Blueprint | None:
    chosen = run.asset_selection or frozenset()
    by_hand = (blueprint for key, blueprint in by_asset.items() if key in chosen)
    return by_job.get(run.job_name) or next(by_hand, None)


def record_run_end(project_context: ProjectContext, run: dg.DagsterRun, *, interrupted: bool = False) -> None:
    """Give a run that ended its last word in the ledger, if it was a training or a evaluation.

    Args:
        project context: the project's resources.
        run: the run.
        interrupted: it failed because a server did not answer, or because something fell due before it began.
    """
    training_request, view = project_context.training_request(RunIdentity.of(run)), project_context.ledger_view()
    if any(fact.run_id == run.run_id and fact.outcome != "TRAINED" for fact in view.ended_trainings):
        return
    if training_request.by == "hand" and not _promised(view, run.run_id):
        return
    if run.status != dg.DagsterRunStatus.SUCCESS or _promised(view, run.run_id):
        record_end(project_context, view, training_request, interrupted=interrupted)


def _promised(view: LedgerView, run_id: str) -> bool:
    return any(fact.run_id == run_id for fact in view.verdicts)


def record_end(
    project_context: ProjectContext, view: LedgerView, training_request: TrainingRequest, *, interrupted: bool
) -> None:
    """A training without an end in the ledger: judged, if its verdict stands; failed or interrupted, if it has none."""
    started = next((fact for fact in view.started_trainings if fact.run_id == training_request.run_id), None)
    as_of = started.at if started is not None else project_context.now()
    verdict = next((fact for fact in view.verdicts if fact.run_id == training_request.run_id), None)
    if verdict is not None:
        as_of = verdict.as_of
        ended = training_request.ended(
            "JUDGED", as_of, reason=f"{verdict.verdict}, recorded after its run had ended early"
        )
        # As at the gate: a evaluation by hand is a person's.
        ended = ended.model_copy(update={"consumes": training_request.by != "bootstrap"})
    else:
        end = end_without_verdict(
            view,
            training_request.decision,
            training_request.by,
            project_context.spec.retraining,
            interrupted=interrupted,
        )
        what = "was interrupted: a server did not answer, or other work fell due first" if interrupted else "failed"
        ended = training_request.ended(
            end.outcome, as_of, reason=f"Dagster run {training_request.run_id} {what}", final=end.final
        )
    project_context.ledger.append(
        project_context.spec.name, *([] if started else [training_request.started(as_of)]), ended
    )
