"""The sensors that keep a project's loop turning.

Their bodies only read, but for the signs of life of the loop's lease; `run_status` alone writes.
"""

from __future__ import annotations

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.sensors.endpoint_health import endpoint_health
from mlops_assets.sensors.late_labels import late_labels
from mlops_assets.sensors.live_data import live_data
from mlops_assets.sensors.retraining import retraining
from mlops_assets.sensors.work import Jobs

__all__ = ["project_sensors"]


def project_sensors(blueprint: Blueprint, jobs: Jobs) -> list[dg.SensorDefinition]:
    """All sensors of one project."""
    return [sensor(blueprint, jobs) for sensor in (live_data, late_labels, retraining, endpoint_health)]
