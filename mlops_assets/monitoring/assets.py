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
    """Return the assets of this phase for one project."""
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
            blueprint.check(
                "drift_report", "data_drift", "Fails when the share of drifted columns reaches monitoring.drift.share."
            ),
            blueprint.check(
                "drift_report", "prediction_drift", "Fails when the predictions drift beyond the limit of the policy."
            ),
        ],
    )
    def drift(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """Live data since the promotion, compared with the training data of the version that serves.

        Shows how far each input column and the predictions have moved, as a share of drifted columns, per column and
        per window. `report` is Evidently's page.
        """
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
        check_specs=[
            blueprint.check(
                "performance_report", "degradation", "Fails when a performance condition of the policy is met."
            )
        ],
    )
    def performance(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """How accurate the served predictions are, once labels are available.

        Shows the loss of the served version, of the shadow and of the baseline over the same events, and the gain of
        the last promotion over the shadow: expected on the hold-out, and actual since then. It is pending until
        labels are available.
        """
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
            blueprint.check(
                "service_health", "available", "Fails when an event was missed or lost, or a request failed."
            ),
            blueprint.check(
                "service_health", "latency", "Fails when the 95th percentile of latency is above serving.latency."
            ),
        ],
    )
    def health(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """How well the scoring service worked in this window.

        Shows availability, failed requests, latency percentiles, memory, and how many due events were late, missed or
        lost. The due events are those of the published rows.
        """
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
        metadata={"triggers": f"the sensor {spec.name}_retraining starts {spec.name}_retrain for each RETRAIN"},
    )
    def decision(context: dg.AssetExecutionContext, platform: Platform) -> Results:
        """The policy's decision on retraining after this window: RETRAIN, WAIT or COLLECT, and why.

        Shows the conditions of the policy with their values, the guards, and the active triggers. For each RETRAIN,
        the sensor `*_retraining` starts a run of `*_retrain`, which begins with `dataset`.
        """
        decided = [(each, each.decide()) for each in observed(context, platform)]
        for each, found in decided:
            context.add_asset_metadata(metadata.decision(each, found), partition_key=each.context.key(each.window))
            context.log.info(
                found.text
                if found is not None
                else f"{each.window.id}: the window was in quarantine, so no decision is made on it"
            )
        yield dg.MaterializeResult(metadata=metadata.decision_numbers(decided[-1][1]))

    return [drift, performance, health, decision]
