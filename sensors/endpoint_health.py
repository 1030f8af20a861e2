"""The sensor `<project>_endpoint_health`: it launches `<project>_heal` when the scoring service needs it."""

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.context import ProjectContext
from mlops_assets.errors import EndpointError
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.failed_runs import LOOP_TAG, WORK_TAG
from mlops_assets.loop.outstanding import Heal
from mlops_assets.resources.platform import Platform
from mlops_assets.sensors.run_requests import Jobs, reason_to_wait, request_run, wait_after_failed_heals


def endpoint_health(blueprint: Blueprint, jobs: Jobs) -> dg.SensorDefinition:
    """Return the sensor of one project."""

    @dg.sensor(
        name=blueprint.job("endpoint_health"),
        jobs=[jobs[blueprint.job("heal")]],
        minimum_interval_seconds=1,
        default_status=blueprint.sensor_status,
        description="Repairs the endpoint when it is down or serves a version other than the champion, and finishes or "
        "undoes a promotion that stopped half-way.",
    )
    def sensor(context: dg.SensorEvaluationContext, platform: Platform) -> dg.RunRequest | dg.SkipReason:
        project_context = platform.of(blueprint.spec)
        if (wait := reason_to_wait(context, project_context)) is not None:
            return wait
        view = project_context.ledger_view()
        if view.open_promotion is not None:
            return request_run(context, blueprint, project_context, Heal(view.open_promotion.promotion))
        if (fault := endpoint_fault(project_context, view)) is None:
            return dg.SkipReason("the endpoint serves the champion")
        if (until := wait_after_failed_heals(context, blueprint)) is not None:
            return dg.SkipReason(f"the last repair failed; the next one starts at {until.isoformat()}: {fault}")
        # The number of earlier repairs is in the run key, so that each incident gets a run of its own.
        before = context.instance.get_runs_count(dg.RunsFilter(job_name=blueprint.job("heal")))
        tags = {"project": blueprint.name, LOOP_TAG: blueprint.name, WORK_TAG: "heal:endpoint", "fault": fault[:200]}
        return dg.RunRequest(f"{blueprint.name}:heal:{before}", job_name=blueprint.job("heal"), tags=tags)

    return sensor


def endpoint_fault(project_context: ProjectContext, view: LedgerView) -> str | None:
    """Return how the scoring service differs from what the ledger says; None when it does not."""
    if view.deployment_period is None:
        return None
    try:
        status = project_context.endpoint.status()
    except EndpointError as error:
        return f"the endpoint does not respond: {error}"
    if status is None:
        return "the endpoint is not running"
    serving, standby, shadow = (
        None if model is None else model.version for model in (status.champion, status.standby, status.shadow)
    )
    if serving != view.deployment_period.version:
        return f"the endpoint serves version {serving}, but the champion is version {view.deployment_period.version}"
    wanted = view.shadow_for(project_context.spec.serving.shadow)
    if shadow != wanted:
        return f"the shadow is version {shadow}, but version {wanted} was expected"
    return None if standby is None else f"version {standby} is loaded as standby, but no promotion is in progress"
