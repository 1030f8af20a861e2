"""Monitoring: `drift_report`, `performance_report`, `service_health`, `retraining_decision`."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.monitoring import metadata
from mlops_assets.monitoring.observation import Observation
from mlops_assets.resources.platform import Platform

Results = Iterator[dg.MaterializeResult | dg.AssetCheckResult]  # type: ignore[type-arg]
WARN = dg.AssetCheckSeverity.WARN


def assets(blueprint: Blueprint) -> list[dg.AssetsDefinition]:
    """The assets of this phase, for one project."""
    spec = blueprint.spec

    def observed(context: dg.AssetExecutionContext, platform: Platform) -> list[Observation]:
        project_context = platform.of(spec)
        return [Observation(project_context, window) for window in blueprint.windows_of(context)]

    @blueprint.asset(
        "monitoring",
        "drift_report",
        deps=["predictions"],
        windows=True,
        kinds={"evidently"},
        check_specs=[
            blueprint.check("drift_report", "data_drift", "Few columns lie far from the version's reference."),
            blueprint.check("drift_report", "prediction_drift", "The predictions lie near the version's reference."),
        ],
    )
    def drift(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """Evidently: the deployment period's live rows against its version's own reference. HTML, and a typed summary."""
        reports = [(each, each.drift()) for each in observed(context, platform)]
        for each, report in reports:
            context.add_asset_metadata(metadata.drift(each, report), partition_key=each.context.key(each.window))
        yield dg.MaterializeResult(metadata=metadata.drift_numbers(reports[-1][1]))
        yield from metadata.drift_checks(spec, [report for _, report in reports], WARN)

    @blueprint.asset(
        "monitoring",
        "performance_report",
        deps=["predictions", "labels"],
        windows=True,
        kinds={"scikitlearn"},
        check_specs=[blueprint.check("performance_report", "degradation", "The loss is near what it was at first.")],
    )
    def performance(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """Answers joined with labels: loss of served, shadow and baseline over the same events."""
        reports = [(each, each.performance()) for each in observed(context, platform)]
        for each, report in reports:
            context.add_asset_metadata(metadata.performance(each, report), partition_key=each.context.key(each.window))
        yield dg.MaterializeResult(metadata=metadata.performance_numbers(reports[-1][1]))
        yield metadata.degradation_check(reports[-1][0], WARN)

    @blueprint.asset(
        "monitoring",
        "service_health",
        deps=["predictions"],
        windows=True,
        kinds={"fastapi"},
        check_specs=[
            blueprint.check("service_health", "available", "Every due event was answered, and no request failed."),
            blueprint.check("service_health", "latency", "The 95th percentile of latency is below serving.latency."),
        ],
    )
    def health(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """Availability, share of errors, latency percentiles, memory of the service in this window."""
        summaries = [(each, each.health()) for each in observed(context, platform)]
        for each, summary in summaries:
            context.add_asset_metadata(metadata.health(each, summary), partition_key=each.context.key(each.window))
        yield dg.MaterializeResult(metadata=metadata.health_numbers(summaries[-1][1]))
        yield from metadata.health_checks(spec, [summary for _, summary in summaries], WARN)

    @blueprint.asset(
        "monitoring",
        "retraining_decision",
        deps=["drift_report", "performance_report", "service_health"],
        windows=True,
        kinds={"python"},
        metadata={
            "closes the circle": f"the sensor {spec.name}_retraining requests {spec.name}_retrain for each RETRAIN"
        },
    )
    def decision(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The policy's decision on the evidence so far: RETRAIN, WAIT or COLLECT, in one sentence a person understands.

        Here the circle closes: the sensor `*_retraining` watches this asset and requests `*_retrain` for each RETRAIN
        not yet acted on; `dataset` stands at its other end.
        """
        decided = [(each, each.decide()) for each in observed(context, platform)]
        for each, found in decided:
            context.add_asset_metadata(metadata.decision(each, found), partition_key=each.context.key(each.window))
            context.log.info(found.text if found is not None else f"{each.window.id}: repaired, no decision")
        yield dg.MaterializeResult(metadata=metadata.decision_numbers(decided[-1][1]))

    return [drift, performance, health, decision]
