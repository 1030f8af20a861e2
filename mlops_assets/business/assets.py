"""Business understanding: `business_case`, `feasibility`."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.business import metadata
from mlops_assets.business.case import assumptions, business_case
from mlops_assets.business.feasibility_model import evaluate_feasibility, outcome
from mlops_assets.resources.platform import Platform


class FeasibilityConfig(dg.Config):
    """Options of a run of `feasibility`."""

    force: bool = False
    """Continue although the success criterion is missed. This is recorded."""


def assets(blueprint: Blueprint) -> list[dg.AssetsDefinition]:
    """Return the assets of this phase for one project."""
    spec, timeline = blueprint.spec, blueprint.timeline

    @blueprint.asset("business", "business_case", deps=[], kinds={"markdown"})
    def case() -> dg.MaterializeResult:  # type: ignore[type-arg]
        """What the project predicts, for whom, and when it counts as a success.

        Shows the target, the metric, the baseline to beat, the validation, the lead time, the conditions for a
        retraining and the assumptions.
        """
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
            blueprint.check(
                "feasibility",
                "feasible",
                "Fails when a quick model misses the success criterion; the project then stops before AutoML runs.",
                blocking=True,
            )
        ],
    )
    def feasibility(
        context: dg.AssetExecutionContext, config: FeasibilityConfig, platform: Platform
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:  # type: ignore[type-arg]
        """Whether a quick model beats the baseline by enough, before AutoML runs.

        Shows the loss of a gradient-boosting model and of the baseline on the hold-out, evaluated as in `evaluation`.
        With `force` the project continues even if the success criterion is missed, and the ledger records that.
        """
        project_context = platform.of(spec)
        now, force = project_context.now(), config.force or context.run.tags.get("force") == "true"
        labelled = project_context.source.labelled_by(timeline.start, now)
        found, holdout = evaluate_feasibility(timeline, labelled.rows, force=force)
        project_context.ledger.append(spec.name, outcome(found, now, context.run.run_id))
        yield dg.MaterializeResult(metadata=metadata.feasibility(spec, found, holdout, labelled))
        yield dg.AssetCheckResult(
            check_name="feasible", passed=found.verdict == "PROMOTE", metadata={"reason": " ".join(found.reasons)}
        )

    return [case, feasibility]
