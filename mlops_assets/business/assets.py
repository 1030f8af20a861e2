"""Business understanding: `business_case`, `feasibility`."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.business import metadata
from mlops_assets.business.case import assumptions, business_case
from mlops_assets.business.feasibility_model import evaluate_feasibility, outcome
from mlops_assets.resources.platform import Platform


class FeasibilityConfig(dg.Config):
    """What a person may say about the feasibility model."""

    force: bool = False
    """Go on although the success criterion is missed; recorded."""


def assets(blueprint: Blueprint) -> list[dg.AssetsDefinition]:
    """The assets of this phase, for one project."""
    spec, timeline = blueprint.spec, blueprint.timeline

    @blueprint.asset("business", "business_case", deps=[], kinds={"markdown"})
    def case() -> dg.MaterializeResult:  # type: ignore[type-arg]
        """Problem, metric, direction, validation strategy, success criterion, lead, assumptions, owner: for people."""
        text = business_case(spec)
        return dg.MaterializeResult(
            metadata={"business case": dg.MetadataValue.md(text), "assumptions": assumptions(spec)},
        )

    @blueprint.asset(
        "business",
        "feasibility",
        deps=["business_case"],
        kinds={"scikitlearn"},
        check_specs=[
            blueprint.check("feasibility", "feasible", "A quick model meets the success criterion.", blocking=True)
        ],
    )
    def feasibility(
        context: dg.AssetExecutionContext, config: FeasibilityConfig, platform: Platform
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:  # type: ignore[type-arg]
        """The feasibility model: naive baseline and a quick model against the success criterion, before any AutoML is paid for.

        Judged by the same judge as `evaluation`. With `force` an infeasible project goes on, and that is recorded.
        """
        project_context = platform.of(spec)
        now, force = project_context.now(), config.force or context.run.tags.get("force") == "true"
        labelled = project_context.source.labelled_by(timeline.start, now)
        found, holdout = evaluate_feasibility(timeline, labelled, force=force)
        project_context.ledger.append(spec.name, outcome(found, now, context.run.run_id))
        yield dg.MaterializeResult(metadata=metadata.feasibility(spec, found, holdout))
        yield dg.AssetCheckResult(
            check_name="feasible", passed=found.verdict == "PROMOTE", metadata={"reason": " ".join(found.reasons)}
        )

    return [case, feasibility]
