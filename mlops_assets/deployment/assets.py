"""Deployment: `champion` (the gate), `endpoint` (the running service), `predictions` (its answers)."""

import logging
from collections.abc import Iterator

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.deployment import show
from mlops_assets.deployment.answers import window_answers
from mlops_assets.deployment.evaluated import read_evaluation
from mlops_assets.deployment.gate import pass_gate
from mlops_assets.deployment.promotion import Promoter
from mlops_assets.deployment.serving import ask_golden_rows, hand_over
from mlops_assets.errors import NotReady
from resources.platform import Desk, Platform, RunFacts

Results = Iterator[dg.MaterializeResult | dg.AssetCheckResult]  # type: ignore[type-arg]


def require_champion(desk: Desk) -> None:
    """By hand there must be something to serve; the first training's run leaves an empty service if it may not serve.

    Raises:
        NotReady: when no version was ever promoted.
    """
    history = desk.history()
    if history.reign is None and history.open_promotion is None:
        remedy = f"run the job {desk.spec.name}_bootstrap first"
        raise NotReady(desk.spec.name, "endpoint", "no version was ever promoted, so there is none to serve", remedy)


def promoter_of(desk: Desk) -> Promoter:
    """What moves a project's champion."""
    return Promoter(desk.spec, desk.ledger, desk.registry, desk.versions, desk.endpoint)


def assets(blueprint: Blueprint) -> list[dg.AssetsDefinition]:
    """The assets of this phase, for one project."""
    spec = blueprint.spec

    @blueprint.asset("deployment", "champion", deps=["evaluation"], kinds={"mlflow"})
    def champion(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """The gate: PROMOTE, HOLD or REJECT with its reasons; on PROMOTE the alias `champion` and the service move.

        A candidate must beat the running version on rows that neither has seen, load in the running service, and
        answer its golden rows there.
        """
        desk = platform.of(spec)
        version, judgement, rival = read_evaluation(desk, context.run.run_id)
        ticket = desk.ticket(RunFacts.of(context.run))
        if judgement.verdict == "PROMOTE" and (handed := hand_over(desk, version.as_of)) is not None:
            context.log.log(logging.INFO if handed.answered else logging.WARNING, handed.text)
        outcome = pass_gate(
            promoter_of(desk), desk.history(), ticket, version, judgement, judged_against=rival, now=desk.now()
        )
        context.log.info("%s: %s", outcome.verdict.verdict, " ".join(outcome.verdict.reasons))
        return dg.MaterializeResult(metadata=show.champion(spec, outcome, desk.history()))

    @blueprint.asset(
        "deployment",
        "endpoint",
        deps=["champion"],
        kinds={"fastapi"},
        check_specs=[
            blueprint.check("endpoint", "serves", "The service answers its version's golden rows as trained.")
        ],
    )
    def endpoint(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The running service: URL, model version, dataset version. Materializing it heals it."""
        desk = platform.of(spec)
        if desk.ticket(RunFacts.of(context.run)).by == "hand":
            require_champion(desk)
        promoter = promoter_of(desk)
        if (healed := promoter.repair(desk.now())) is not None:
            context.log.warning(healed)
        version = promoter.reconcile()
        yield dg.MaterializeResult(metadata=show.endpoint(desk, version))
        passed, text = ask_golden_rows(desk, version)
        yield dg.AssetCheckResult(check_name="serves", passed=passed, metadata={"found": text})

    @blueprint.asset(
        "deployment",
        "predictions",
        deps=["endpoint", "raw_data"],
        windows=True,
        kinds={"sqlite"},
        check_specs=[
            blueprint.check("predictions", "complete", "Each due event was answered once, or is missed for good.")
        ],
    )
    def predictions(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The window's answers with the features the service computed, read back from telemetry."""
        desk = platform.of(spec)
        found = [window_answers(desk, window) for window in blueprint.windows_of(context)]
        for answers in found:
            context.add_asset_metadata(show.predictions(desk, answers), partition_key=desk.key(answers.window))
        yield dg.MaterializeResult(metadata=show.counts(found))
        open_events = {answers.window.id: answers.open for answers in found if answers.open}
        yield dg.AssetCheckResult(
            check_name="complete", passed=not open_events, metadata={"neither answered nor missed": str(open_events)}
        )

    return [champion, endpoint, predictions]
