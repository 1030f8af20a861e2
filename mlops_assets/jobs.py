"""The jobs of a project: bootstrap, score, observe, retrain, rollback, heal, collect, clock_advance."""

from datetime import datetime
from typing import Any

import dagster as dg

from mlops_assets.acquisition.collect import run_collect_hook
from mlops_assets.blueprint import Blueprint
from mlops_assets.deployment.promotion import roll_back
from mlops_assets.deployment.scoring import score_due
from mlops_assets.errors import names_project
from mlops_assets.loop.replay import DagsterLoop, advance
from mlops_assets.resources.platform import Platform

TRAINING = ["dataset", "feature_definitions", "training_set", "candidate_model", "evaluation", "champion", "endpoint"]
OBSERVING = [
    "raw_data",
    "labels",
    "predictions",
    "drift_report",
    "performance_report",
    "service_health",
    "retraining_decision",
]
"""Materialized for a window that ended. Labels that are not due yet are pending."""
LATE_LABELS = ["labels", "performance_report", "retraining_decision"]
"""Materialized when labels arrive late. Drift and service health do not depend on labels."""
UNMONITORED = ["raw_data", "labels"]
"""Materialized for windows that ended before the first promotion."""


def project_jobs(blueprint: Blueprint, steps: dg.ExecutorDefinition | None = None) -> list[Any]:
    """Return all jobs of one project. Their tag `mlops/loop` limits the run queue to one run of a project at a time.

    Args:
        blueprint: the project.
        steps: executor of the steps of `bootstrap` and `retrain`; None: the executor of all jobs.
    """
    loop = {"project": blueprint.name, "mlops/loop": blueprint.name}
    training = {**loop, "mlops/training": "true"}

    def asset_job(name: str, assets: list[str], tags: dict[str, str], description: str, **more: Any) -> Any:
        keys = [blueprint.key(asset) for asset in assets]
        return dg.define_asset_job(
            blueprint.job(name),
            selection=dg.AssetSelection.assets(*keys) | dg.AssetSelection.checks_for_assets(*keys),
            tags=tags,
            description=description,
            **more,
        )

    return [
        asset_job(
            "bootstrap",
            ["business_case", "feasibility", "history", *TRAINING],
            training,
            "Sets a project up: loads all windows up to now, trains the first model and deploys it.",
            executor_def=steps,
        ),
        asset_job(
            "observe",
            OBSERVING,
            loop,
            "Processes finished windows and late labels: loads data, runs the reports, decides about retraining.",
        ),
        asset_job(
            "retrain",
            TRAINING,
            training,
            "Builds a dataset, trains, evaluates, and deploys the candidate if it is better. The sensor "
            f"{blueprint.job('retraining')} launches it for each RETRAIN decision; launched by a person, it ignores "
            "cooldown and budget.",
            executor_def=steps,
        ),
        asset_job(
            "heal",
            ["endpoint"],
            loop,
            "Repairs the endpoint: finishes or undoes an interrupted promotion, starts the service if it is down, and "
            "loads the champion.",
        ),
        *_op_jobs(blueprint, loop),
    ]


class RollbackConfig(dg.Config):
    """Configuration of the job `rollback`."""

    to: int | None = None
    """The version to serve, a former champion. Default: the previous champion."""


class AdvanceConfig(dg.Config):
    """Configuration of the job `clock_advance`."""

    windows: int | None = 1
    """How many windows to replay. Ignored when `until` is given."""
    until: str | None = None
    """Replay up to this date or time, such as 2011-07-02, in the project's time zone."""


class CollectConfig(dg.Config):
    """Configuration of the job `collect`."""

    decision: str
    """Id of the COLLECT decision."""


def _op_jobs(blueprint: Blueprint, loop: dict[str, str]) -> list[dg.JobDefinition]:
    spec, name = blueprint.spec, blueprint.name

    @dg.op(name=f"{name}_score_due", description="Requests the predictions of all due events, oldest first.")
    @names_project(name)
    def score_op(context: dg.OpExecutionContext, platform: Platform) -> None:
        context.log.info(score_due(platform.of(spec)))

    @dg.op(
        name=f"{name}_roll_back",
        description="Deploys a former champion again, which begins a new deployment period.",
    )
    @names_project(name)
    def rollback_op(context: dg.OpExecutionContext, config: RollbackConfig, platform: Platform) -> None:
        project_context = platform.of(spec)
        version = roll_back(project_context, config.to, context.run_id).version
        for asset in ("champion", "endpoint"):
            key = blueprint.key(asset)
            context.log_event(dg.AssetMaterialization(key, metadata={"version": version, "cause": "rollback"}))

    @dg.op(name=f"{name}_collect_data", description="Calls the project's data.collect function for a COLLECT decision.")
    @names_project(name)
    def collect_op(context: dg.OpExecutionContext, config: CollectConfig, platform: Platform) -> None:
        context.log.info(run_collect_hook(platform.of(spec), config.decision))

    @dg.op(
        name=f"{name}_advance",
        description="Moves the replay clock from one due moment to the next, and waits at each until the loop is idle.",
    )
    @names_project(name)
    def advance_op(context: dg.OpExecutionContext, config: AdvanceConfig, platform: Platform) -> None:
        project_context = platform.of(spec)
        until = None if config.until is None else project_context.timeline.utc(datetime.fromisoformat(config.until))
        windows = config.windows if until is None else None
        dagster_loop = DagsterLoop(context.instance, project_context)
        for moment in advance(project_context, dagster_loop, windows=windows, until=until):
            context.log.info("the loop is idle at %s", moment.isoformat())

    def job(suffix: str, op: dg.OpDefinition, tags: dict[str, str], description: str) -> dg.JobDefinition:
        @dg.job(name=blueprint.job(suffix), tags=tags, description=description)
        def built() -> None:
            op()

        return built

    return [
        job("score", score_op, loop, "Requests the predictions of all due events."),
        job(
            "rollback",
            rollback_op,
            loop,
            "Deploys a former champion again: the previous one, or the version in the run config.",
        ),
        job("collect", collect_op, loop, "Calls the project's data.collect function for a COLLECT decision."),
        job(
            "clock_advance",
            advance_op,
            {"project": name},
            "Simulates time: replays the next N windows. Only for a project with a replay clock.",
        ),
    ]
