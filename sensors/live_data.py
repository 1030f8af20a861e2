"""`<project>_live_data`: answers what is due, publishes what has ended, champion or not, and has it reported."""

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.resources.platform import Platform
from mlops_assets.sensors.work import Jobs, request


def live_data(blueprint: Blueprint, jobs: Jobs) -> dg.SensorDefinition:
    """The sensor of one project."""

    @dg.sensor(
        name=blueprint.job("live_data"),
        jobs=[
            jobs[blueprint.job(name)]
            for name in (
                "score",
                "observe",
            )
        ],
        minimum_interval_seconds=1,
        default_status=blueprint.sensor_status,
        description="Answers what is due, publishes what has ended, with or without a champion, and has it reported.",
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        return request(context, blueprint, platform, "live_data")

    return sensor
