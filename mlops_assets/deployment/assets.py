"""Deployment: `champion` (the gate), `endpoint` (the running service), `predictions` (its answers)."""

import logging
from collections.abc import Iterator

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.context import ProjectContext
from mlops_assets.deployment import metadata
from mlops_assets.deployment.evaluation_result import read_evaluation
from mlops_assets.deployment.gate import pass_gate
from mlops_assets.deployment.promotion import Promoter
from mlops_assets.deployment.scoring import check_served_predictions, score_remaining_events
from mlops_assets.deployment.window_predictions import window_predictions
from mlops_assets.errors import NotReady
from mlops_assets.resources.platform import Platform
from mlops_assets.retraining.requests import RunIdentity

Results = Iterator[dg.MaterializeResult | dg.AssetCheckResult]  # type: ignore[type-arg]


def require_champion(project_context: ProjectContext) -> None:
    """By hand there must be something to serve; the first training's run leaves an empty service if it may not serve.

    Raises:
        NotReady: when no version was ever promoted.
    """
    view = project_context.ledger_view()
    if view.deployment_period is None and view.open_promotion is None:
        remedy = f"run the job {project_context.spec.name}_bootstrap first"
        raise NotReady(
            project_context.spec.name, "endpoint", "no version was ever promoted, so there is none to serve", remedy
        )


def promoter_of(project_context: ProjectContext) -> Promoter:
    """What moves a project's champion."""
    return Promoter(
        project_context.spec,
        project_context.ledger,
        project_context.registry,
        project_context.versions,
        project_context.endpoint,
    )


def assets(blueprint: Blueprint) -> list[dg.AssetsDefinition]:
    """The assets of this phase, for one project."""
    spec = blueprint.spec

    @blueprint.asset("deployment", "champion", deps=["evaluation"], kinds={"mlflow"})
    def champion(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """The gate: PROMOTE, HOLD or REJECT with its reasons; on PROMOTE the alias `champion` and the service move.

        A candidate must beat the running version on rows that neither has seen, load in the running service, and
        answer its golden rows there.
        """
        project_context = platform.of(spec)
        version, evaluation, rival = read_evaluation(project_context, context.run.run_id)
        training_request = project_context.training_request(RunIdentity.of(context.run))
        if (
            evaluation.verdict == "PROMOTE"
            and (handed := score_remaining_events(project_context, version.as_of)) is not None
        ):
            context.log.log(logging.INFO if handed.answered else logging.WARNING, handed.text)
        outcome = pass_gate(
            promoter_of(project_context),
            project_context.ledger_view(),
            training_request,
            version,
            evaluation,
            judged_against=rival,
            now=project_context.now(),
        )
        context.log.info("%s: %s", outcome.verdict.verdict, " ".join(outcome.verdict.reasons))
        return dg.MaterializeResult(metadata=metadata.champion(spec, outcome, project_context.ledger_view()))

    @blueprint.asset(
        "deployment",
        "endpoint",
        deps=["champion"],
        kinds={"fastapi"},
        check_specs=[
            blueprint.check("endpoint", "serves", "The service reproduces the reference predictions of its version.")
        ],
    )
    def endpoint(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The running service: URL, model version, dataset version. Materializing it heals it."""
        project_context = platform.of(spec)
        if project_context.training_request(RunIdentity.of(context.run)).by == "hand":
            require_champion(project_context)
        promoter = promoter_of(project_context)
        if (healed := promoter.repair(project_context.now())) is not None:
            context.log.warning(healed)
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
                "predictions", "complete", "Passes when each due event was answered, or is missed for good."
            )
        ],
    )
    def predictions(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The window's predictions, as the service logged them, and what became of each due event.

        Shows how many events of the window were due, answered, late, missed (with the reasons) and lost. A lost event
        is one that the scorer went through, and that has no prediction in the log.
        """
        project_context = platform.of(spec)
        found = [window_predictions(project_context, window) for window in blueprint.windows_of(context)]
        for each in found:
            context.add_asset_metadata(
                metadata.predictions(project_context, each), partition_key=project_context.key(each.window)
            )
        yield dg.MaterializeResult(metadata=metadata.counts(found))
        yield dg.AssetCheckResult(
            check_name="complete",
            passed=not any(each.account.waiting or each.account.lost for each in found),
            metadata=metadata.complete(found),
        )

    return [champion, endpoint, predictions]
