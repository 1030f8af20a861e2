"""`<project>_late_labels`: labels that have come: publishes them, and has report and decision made again."""

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.resources.platform import Platform
from mlops_assets.sensors.work import Jobs, request


def late_labels(blueprint: Blueprint, jobs: Jobs) -> dg.SensorDefinition:
    """The sensor of one project."""

    @dg.sensor(
        name=blueprint.job("late_labels"),
        jobs=[jobs[blueprint.job(name)] for name in ("observe",)],
        minimum_interval_seconds=1,
        default_status=blueprint.sensor_status,
        description="Labels that have come: publishes them, and has report and decision made again.",
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        return request(context, blueprint, platform, "late_labels")

    return sensor
