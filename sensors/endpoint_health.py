"""`<project>_endpoint_health`: an endpoint that is down or serves another version, or a promotion left half-done."""

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.context import ProjectContext
from mlops_assets.errors import EndpointError
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.failed_runs import LOOP_TAG, WORK_TAG
from mlops_assets.resources.platform import Platform
from mlops_assets.sensors.work import Jobs, attempt, first_heal, lease_conflict, pause_after_failures


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
        project_context = platform.of(blueprint.spec)
        if (busy := lease_conflict(context, project_context)) is not None:
            return busy
        view = project_context.ledger_view()
        if (heal := first_heal(view)) is not None:
            return attempt(context, blueprint, project_context, heal)
        if (fault := endpoint_fault(project_context, view)) is None:
            return dg.SkipReason("the endpoint serves what the ledger says")
        if (wait := pause_after_failures(context, blueprint)) is not None:
            return dg.SkipReason(f"healing has failed, it is tried again at {wait.isoformat()}: {fault}")
        # Each incident is a run of its own: what has been healed before does not stand in the way of healing again.
        before = context.instance.get_runs_count(dg.RunsFilter(job_name=blueprint.job("heal")))
        tags = {"project": blueprint.name, LOOP_TAG: blueprint.name, WORK_TAG: "heal:endpoint", "fault": fault[:200]}
        return dg.RunRequest(f"{blueprint.name}:heal:{before}", job_name=blueprint.job("heal"), tags=tags)

    return sensor


def endpoint_fault(project_context: ProjectContext, view: LedgerView) -> str | None:
    """What is wrong with the running service, in words; None if it serves what the ledger says."""
    if view.deployment_period is None:
        return None
    try:
        status = project_context.endpoint.status()
    except EndpointError as error:
        return f"it does not answer: {error}"
    if status is None:
        return "it does not run"
    serving, standby, shadow = (
        None if held is None else held.version for held in (status.champion, status.standby, status.shadow)
    )
    if serving != view.deployment_period.version:
        return f"it serves version {serving}, the ledger says {view.deployment_period.version}"
    wanted = view.shadow_for(project_context.spec.serving.shadow)
    if shadow != wanted:
        return f"version {shadow} predicts in its shadow, it should be {wanted}"
    return None if standby is None else f"version {standby} stands by, and no promotion is under way"
