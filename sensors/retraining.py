"""`<project>_retraining`: closes the circle: a retraining for a RETRAIN not yet acted on, the hook for a COLLECT."""

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.resources.platform import Platform
from mlops_assets.sensors.work import Jobs, request


def retraining(blueprint: Blueprint, jobs: Jobs) -> dg.SensorDefinition:
    """The sensor of one project."""

    @dg.sensor(
        name=blueprint.job("retraining"),
        jobs=[
            jobs[blueprint.job(name)]
            for name in (
                "retrain",
                "collect",
            )
        ],
        minimum_interval_seconds=1,
        default_status=blueprint.sensor_status,
        description="Closes the circle: a retraining for each RETRAIN not yet acted on, the hook for each COLLECT.",
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        return request(context, blueprint, platform, "retraining")

    return sensor
