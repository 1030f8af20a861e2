"""Dagster's sensors: they look at a project's loop and launch its outstanding work.

The sensors of a project only read, except that they renew the lease on its loop. `run_status` writes to the ledger and
to MLflow.
"""

from __future__ import annotations

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.sensors.endpoint_health import endpoint_health
from mlops_assets.sensors.outstanding_work import late_labels, live_data, retraining
from mlops_assets.sensors.run_requests import Jobs

__all__ = ["project_sensors"]


def project_sensors(blueprint: Blueprint, jobs: Jobs) -> list[dg.SensorDefinition]:
    """Return all sensors of one project."""
    return [sensor(blueprint, jobs) for sensor in (live_data, late_labels, retraining, endpoint_health)]
