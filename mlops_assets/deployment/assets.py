"""The assets of the deployment phase: `champion` (the gate), `endpoint` (the running service), `predictions`."""

import logging
from collections.abc import Iterator

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.context import ProjectContext
from mlops_assets.deployment import metadata
from mlops_assets.deployment.gate import pass_gate, read_evaluation
from mlops_assets.deployment.promotion import Promoter
from mlops_assets.deployment.scoring import check_served_predictions, score_remaining_events
from mlops_assets.deployment.window_predictions import window_predictions
from mlops_assets.errors import NotReady
from mlops_assets.resources.platform import Platform
from mlops_assets.retraining.requests import RunIdentity

Results = Iterator[dg.MaterializeResult | dg.AssetCheckResult]  # type: ignore[type-arg]


def require_champion(project_context: ProjectContext) -> None:
    """Require that a version was promoted, or that a promotion is open.

    Only a materialization by hand requires it: the run of a first training starts an empty service when its candidate
    is not promoted.

    Raises:
        NotReady: no version was promoted yet.
    """
    view = project_context.ledger_view()
    if view.deployment_period is None and view.open_promotion is None:
        remedy = f"run the job {project_context.spec.name}_bootstrap"
        raise NotReady(project_context.spec.name, "endpoint", "no version was promoted yet", remedy)


def assets(blueprint: Blueprint) -> list[dg.AssetsDefinition]:
    """Return the assets of this phase, for one project."""
    spec = blueprint.spec

    @blueprint.asset("deployment", "champion", deps=["evaluation"], kinds={"mlflow"})
    def champion(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """The gate: it records PROMOTE, HOLD or REJECT with the reasons, and promotes the candidate on PROMOTE.

        The losses of candidate, champion and baseline show by how much the candidate is better or worse. A candidate is
        promoted when it beats the champion on rows that neither was trained on, loads in the running service, and
        reproduces its reference predictions there.
        """
        project_context = platform.of(spec)
        version, result = read_evaluation(project_context, context.run.run_id)
        training_request = project_context.training_request(RunIdentity.of(context.run))
        if result.evaluation.verdict == "PROMOTE":
            remaining = score_remaining_events(project_context, version.as_of)
            if remaining is not None:
                context.log.log(logging.INFO if remaining.predicted else logging.WARNING, remaining.text)
        outcome = pass_gate(project_context, training_request, version, result)
        context.log.info("%s: %s", outcome.verdict.verdict, " ".join(outcome.verdict.reasons))
        return dg.MaterializeResult(metadata=metadata.champion(spec, outcome, project_context.ledger_view()))

    @blueprint.asset(
        "deployment",
        "endpoint",
        deps=["champion"],
        kinds={"fastapi"},
        check_specs=[
            blueprint.check(
                "endpoint", "serves", "Fails when the service does not reproduce its version's reference predictions."
            )
        ],
    )
    def endpoint(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The scoring service: its URL, and the model and dataset versions that it serves.

        Materialize it to start or repair the service. This also completes or undoes an interrupted promotion, and loads
        the champion and the shadow that the ledger names.
        """
        project_context = platform.of(spec)
        if project_context.training_request(RunIdentity.of(context.run)).by == "hand":
            require_champion(project_context)
        promoter = Promoter(project_context)
        if (repaired := promoter.repair(project_context.now())) is not None:
            context.log.warning(repaired)
        version = promoter.reconcile()
        yield dg.MaterializeResult(metadata=metadata.endpoint(project_context, version))
        passed, text = check_served_predictions(project_context, version)
        yield dg.AssetCheckResult(check_name="serves", passed=passed, metadata={"found": text})

    @blueprint.asset(
        "deployment",
        "predictions",
        deps=["endpoint", "raw_data"],
        windows=True,
        kinds={"sqlite"},
        check_specs=[
            blueprint.check(
                "predictions",
                "complete",
                "Fails when a due event still waits for its prediction, or its prediction is lost.",
            )
        ],
    )
    def predictions(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The window's predictions, as the service logged them, and the state of each due event.

        Shows how many events of the window were due, answered, late, missed (with the reasons) and lost. A lost event
        was scored, but has no prediction in the log.
        """
        project_context = platform.of(spec)
        found = [window_predictions(project_context, window) for window in blueprint.windows_of(context)]
        for each in found:
            context.add_asset_metadata(metadata.predictions(each), partition_key=project_context.key(each.window))
        yield dg.MaterializeResult(metadata=metadata.counts(found))
        yield dg.AssetCheckResult(
            check_name="complete",
            passed=not any(each.account.waiting or each.account.lost for each in found),
            metadata=metadata.complete(found),
        )

    return [champion, endpoint, predictions]
