"""A project's jobs: bootstrap, score, observe, retrain, rollback, heal, collect, clock_advance."""

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
WITHOUT_LABELS = OBSERVING
"""What a window is observed by when it has ended; labels that are not due yet are pending."""
WITH_LABELS = ["labels", "performance_report", "retraining_decision"]
"""What is made, or made again, when labels come late; drift and health do not depend on them."""
WITHOUT_CHAMPION = ["raw_data", "labels"]
"""What there is before the first promotion."""


def project_jobs(blueprint: Blueprint, steps: dg.ExecutorDefinition | None = None) -> list[Any]:
    """All jobs of one project. The tag `mlops/loop` makes the run queue take one of them at a time.

    Args:
        blueprint: the project.
        steps: what executes the steps of trainings; None: as those of all jobs.
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
            "One click: publishes the history up to now, trains the first model, serves it.",
            executor_def=steps,
        ),
        asset_job("observe", OBSERVING, loop, "A window that ended or whose labels came: raw data ... decision."),
        asset_job(
            "retrain",
            TRAINING,
            training,
            "Dataset ... endpoint. Requested by the sensor for each RETRAIN, or by a person.",
            executor_def=steps,
        ),
        asset_job(
            "heal",
            ["endpoint"],
            loop,
            "Finishes or undoes a promotion, and brings the service to what the ledger says.",
        ),
        *_op_jobs(blueprint, loop),
    ]


class RollbackConfig(dg.Config):
    """Which version serves again."""

    to: int | None = None
    """A former champion; default: the previous one."""


class AdvanceConfig(dg.Config):
    """How far the replay clock moves."""

    windows: int | None = 1
    """That many ends of windows, if `until` is not given."""
    until: str | None = None
    """A local date or time, as 2011-07-02."""


class CollectConfig(dg.Config):
    """Which COLLECT decision is acted on."""

    decision: str


def _op_jobs(blueprint: Blueprint, loop: dict[str, str]) -> list[dg.JobDefinition]:
    spec, name = blueprint.spec, blueprint.name

    @dg.op(name=f"{name}_score_due", description="Answers what became due, oldest first, each as of its own moment.")
    @names_project(name)
    def score_op(context: dg.OpExecutionContext, platform: Platform) -> None:
        account = score_due(platform.of(spec))
        context.log.info(account)

    @dg.op(
        name=f"{name}_roll_back",
        description="Lets a former champion serve again; recorded, and a new deployment period.",
    )
    @names_project(name)
    def rollback_op(context: dg.OpExecutionContext, config: RollbackConfig, platform: Platform) -> None:
        project_context = platform.of(spec)
        version = roll_back(project_context, config.to, context.run_id).version
        for asset in ("champion", "endpoint"):
            fact = dg.AssetMaterialization(blueprint.key(asset), metadata={"version": version, "cause": "rollback"})
            context.log_event(fact)

    @dg.op(name=f"{name}_collect_data", description="Runs the project's data.collect hook for a COLLECT decision.")
    @names_project(name)
    def collect_op(context: dg.OpExecutionContext, config: CollectConfig, platform: Platform) -> None:
        context.log.info(run_collect_hook(platform.of(spec), config.decision))

    @dg.op(
        name=f"{name}_advance",
        description="Moves the replay clock from moment to moment, letting the loop settle at each.",
    )
    @names_project(name)
    def advance_op(context: dg.OpExecutionContext, config: AdvanceConfig, platform: Platform) -> None:
        project_context = platform.of(spec)
        until = None if config.until is None else project_context.timeline.utc(datetime.fromisoformat(config.until))
        loop_ = DagsterLoop(context.instance, project_context)
        for moment in advance(project_context, loop_, windows=config.windows if until is None else None, until=until):
            context.log.info("settled at %s", moment.isoformat())

    def job(suffix: str, op: dg.OpDefinition, tags: dict[str, str], description: str) -> dg.JobDefinition:
        @dg.job(name=blueprint.job(suffix), tags=tags, description=description)
        def built() -> None:
            op()

        return built

    return [
        job("score", score_op, loop, "Answers the events that became due."),
        job("rollback", rollback_op, loop, "A former champion serves again."),
        job("collect", collect_op, loop, "Runs the data.collect hook."),
        job("clock_advance", advance_op, {"project": name}, "Moves a replay clock."),
    ]
