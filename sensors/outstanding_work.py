"""The sensors that launch outstanding work: `<project>_live_data`, `_late_labels` and `_retraining`."""

from __future__ import annotations

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.loop.outstanding import Sensor
from mlops_assets.resources.platform import Platform
from mlops_assets.sensors.run_requests import Jobs, next_run


def live_data(blueprint: Blueprint, jobs: Jobs) -> dg.SensorDefinition:
    """Return the sensor that launches scoring, and the observation of windows that ended."""
    description = (
        "Scores due events, loads finished windows and runs their reports. Before the first promotion it only loads "
        "finished windows."
    )
    return _sensor(blueprint, jobs, "live_data", ["score", "observe"], description)


def late_labels(blueprint: Blueprint, jobs: Jobs) -> dg.SensorDefinition:
    """Return the sensor that launches the observation of windows whose labels arrived after they ended."""
    description = (
        "Loads labels that arrived late, and makes the performance report and the decision of their window again."
    )
    return _sensor(blueprint, jobs, "late_labels", ["observe"], description)


def retraining(blueprint: Blueprint, jobs: Jobs) -> dg.SensorDefinition:
    """Return the sensor that acts on decisions: it launches retrainings and the function `data.collect`."""
    description = (
        "Launches one retraining for each RETRAIN decision of retraining_decision, and the function data.collect for "
        "each COLLECT decision."
    )
    return _sensor(blueprint, jobs, "retraining", ["retrain", "collect"], description)


def _sensor(
    blueprint: Blueprint, jobs: Jobs, name: Sensor, launches: list[str], description: str
) -> dg.SensorDefinition:
    @dg.sensor(
        name=blueprint.job(name),
        jobs=[jobs[blueprint.job(job)] for job in launches],
        minimum_interval_seconds=1,
        default_status=blueprint.sensor_status,
        description=description,
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        return next_run(context, blueprint, platform, name)

    return sensor
