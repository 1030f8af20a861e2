"""`<project>_endpoint_health`: an endpoint that is down or serves another version, or a promotion left half-done."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.errors import EndpointError
from mlops_assets.failed_runs import LOOP_TAG, WORK_TAG
from mlops_assets.retraining.history import History
from resources.platform import Desk, Platform
from sensors.work import Jobs, attempt, busy_elsewhere, first_heal, pause_after_failures


def endpoint_health(blueprint: Blueprint, jobs: Jobs) -> dg.SensorDefinition:
    """The sensor of one project."""

    @dg.sensor(
        name=blueprint.job("endpoint_health"),
        jobs=[jobs[blueprint.job("heal")]],
        minimum_interval_seconds=1,
        default_status=blueprint.sensor_status,
        description="Heals an endpoint that is down or serves another version than the ledger says; ends promotions.",
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        desk = platform.of(blueprint.spec)
        if (busy := busy_elsewhere(context, desk)) is not None:
            return busy
        history = desk.history()
        if (heal := first_heal(history)) is not None:
            return attempt(context, blueprint, desk, heal)
        if (fault := endpoint_fault(desk, history)) is None:
            return dg.SkipReason("the endpoint serves what the ledger says")
        if (wait := pause_after_failures(context, blueprint)) is not None:
            return dg.SkipReason(f"healing has failed, it is tried again at {wait.isoformat()}: {fault}")
        # Each incident is a run of its own: what has been healed before does not stand in the way of healing again.
        before = context.instance.get_runs_count(dg.RunsFilter(job_name=blueprint.job("heal")))
        tags = {"project": blueprint.name, LOOP_TAG: blueprint.name, WORK_TAG: "heal:endpoint", "fault": fault[:200]}
        return dg.RunRequest(f"{blueprint.name}:heal:{before}", job_name=blueprint.job("heal"), tags=tags)

    return sensor


def endpoint_fault(desk: Desk, history: History) -> str | None:
    """What is wrong with the running service, in words; None if it serves what the ledger says."""
    if history.reign is None:
        return None
    try:
        status = desk.endpoint.service.status()
    except EndpointError as error:
        return f"it does not answer: {error}"
    if status is None:
        return "it does not run"
    serving, standby, shadow = (_version(status[place]) for place in ("champion", "standby", "shadow"))
    if serving != history.reign.version:
        return f"it serves version {serving}, the ledger says {history.reign.version}"
    wanted = history.beside(desk.spec.serving.shadow)
    if shadow != wanted:
        return f"version {shadow} predicts in its shadow, it should be {wanted}"
    return None if standby is None else f"version {standby} stands by, and no promotion is under way"


def _version(held: Mapping[str, Any] | None) -> int | None:
    return None if held is None else int(held["version"])
