"""From outstanding work to a run request: what a sensor may launch now, and why it does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.context import ProjectContext
from mlops_assets.jobs import WITH_LABELS, WITHOUT_CHAMPION, WITHOUT_LABELS
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.dagster_storage import lease_holder
from mlops_assets.loop.failed_runs import LOOP_TAG, WORK_TAG, failed_runs
from mlops_assets.loop.outstanding import (
    Collect,
    Heal,
    Observe,
    Repair,
    Retrain,
    Score,
    Sensor,
    Work,
    monitored_from,
    outstanding,
)
from mlops_assets.loop.replay import active_runs
from mlops_assets.resources.platform import Platform
from mlops_assets.retraining.requests import ATTEMPT_TAG, DECISION_TAG
from mlops_assets.retraining.retries import LONGEST_PAUSE
from mlops_assets.timeline import Window
from mlops_assets.timeline.partitions import partition_key
from mlops_assets.waiting import pause_after

Jobs = Mapping[str, Any]
"""A project's jobs by name."""
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
PAUSE = timedelta(seconds=5)
"""Wall time before a failed run is launched anew; doubles each time, up to `LONGEST_PAUSE`, and never ends: when what
failed it is gone, the loop goes on without a person."""
PAUSES = 8
"""So many of the last runs are looked at for failures in a row: that many have the longest pause."""


def request(
    context: dg.SensorEvaluationContext, blueprint: Blueprint, platform: Platform, sensor: Sensor
) -> dg.RunRequest | dg.SkipReason:
    """The run that is due now, if it is this sensor's to launch.

    One piece of work at a time and in order: the next one is asked for when the run before it has ended. A run key
    names the work and its attempt, so that a daemon killed after launching launches nothing twice.
    """
    project_context = platform.of(blueprint.spec)
    if (busy := lease_conflict(context, project_context)) is not None:
        return busy
    work = outstanding(project_context.timeline, project_context.ledger_view(), project_context.now())
    if not work:
        return dg.SkipReason("nothing is outstanding")
    if work[0].sensor != sensor:
        return dg.SkipReason(f"first comes {work[0].key}, which {blueprint.job(work[0].sensor)} launches")
    return attempt(context, blueprint, project_context, work[0])


def lease_conflict(context: dg.SensorEvaluationContext, project_context: ProjectContext) -> dg.SkipReason | None:
    """Why nothing may be launched now: another Dagster carries out the project's loop, or a run of this one does."""
    if (conflict := project_context.lease.take(lease_holder(context.instance))) is not None:
        return dg.SkipReason(str(conflict))
    active = active_runs(context.instance, project_context.spec.name)
    return dg.SkipReason(f"{active[0].job_name} is running ({active[0].run_id})") if active else None


def first_heal(view: LedgerView) -> Heal | None:
    """The promotion that must be finished or undone, if there is one."""
    return None if view.open_promotion is None else Heal(view.open_promotion.promotion)


def attempt(
    context: dg.SensorEvaluationContext, blueprint: Blueprint, project_context: ProjectContext, work: Work
) -> dg.RunRequest | dg.SkipReason:
    """Launch a piece of work, after a pause if it has failed before."""
    failed = failed_runs(context.instance, blueprint.name, work.key)
    if isinstance(work, Retrain):
        if work.not_before is not None and datetime.now(UTC) < work.not_before:
            return dg.SkipReason(f"attempt {work.attempt} of {work.decision} starts at {work.not_before.isoformat()}")
    elif failed and (wait := _pause(context, failed)) is not None:
        return dg.SkipReason(
            f"{work.key} has failed {len(failed)} times, last in run {failed[0].run_id}; it is tried again at "
            f"{wait.isoformat()}"
        )
    number = work.attempt if isinstance(work, Retrain) else len(failed) + 1
    tags = {"project": blueprint.name, LOOP_TAG: blueprint.name, WORK_TAG: work.key, ATTEMPT_TAG: str(number)}
    run_key = f"{blueprint.name}:{work.key}" if isinstance(work, Retrain) else f"{blueprint.name}:{work.key}:{number}"
    return _run(blueprint, project_context, work, run_key, tags)


def _pause(context: dg.SensorEvaluationContext, failed: list[dg.DagsterRun]) -> datetime | None:
    record = context.instance.get_run_record_by_id(failed[0].run_id)
    ended = datetime.fromtimestamp((record.end_time if record else None) or 0.0, UTC)
    until = ended + pause_after(len(failed), PAUSE, LONGEST_PAUSE)
    return until if datetime.now(UTC) < until else None


def pause_after_failures(context: dg.SensorEvaluationContext, blueprint: Blueprint) -> datetime | None:
    """When healing may be tried again, if it has failed: an endpoint that cannot live must not keep all others."""
    runs = context.instance.get_runs(dg.RunsFilter(job_name=blueprint.job("heal")), limit=PAUSES)
    failed = list(takewhile(lambda run: not run.is_success, runs))
    return _pause(context, failed) if failed else None


def _run(
    blueprint: Blueprint, project_context: ProjectContext, work: Work, run_key: str, tags: dict[str, str]
) -> dg.RunRequest:
    match work:
        case Heal():
            return dg.RunRequest(run_key, job_name=blueprint.job("heal"), tags=tags)
        case Score():
            return dg.RunRequest(run_key, job_name=blueprint.job("score"), tags=tags)
        case Collect(decision=decision):
            op = {f"{blueprint.name}_collect_data": {"config": {"decision": decision}}}
            return dg.RunRequest(run_key, job_name=blueprint.job("collect"), run_config={"ops": op}, tags=tags)
        case Retrain(decision=decision):
            more = {DECISION_TAG: decision, "mlops/training": "true"}
            return dg.RunRequest(run_key, job_name=blueprint.job("retrain"), tags={**tags, **more})
        case Observe(windows=windows, stage=stage):
            return _observe(
                blueprint,
                project_context,
                list(windows),
                run_key,
                tags,
                late=stage == "labelled" and work.sensor == "late_labels",
            )
        case Repair(window=window):
            return _observe(blueprint, project_context, [window], run_key, tags, late=False)


def _observe(
    blueprint: Blueprint,
    project_context: ProjectContext,
    windows: list[Window],
    run_key: str,
    tags: dict[str, str],
    *,
    late: bool,
) -> dg.RunRequest:
    view = project_context.ledger_view()
    since = monitored_from(view)
    watched = since is not None and windows[-1].end > since
    names = WITH_LABELS if late else WITHOUT_LABELS
    if not watched:
        names = WITHOUT_CHAMPION
    keys = [partition_key(blueprint.timeline, window.start) for window in (windows[0], windows[-1])]
    selection = [blueprint.key(name) for name in names]
    checks = [key for name in names for key in blueprint.checks_of(name)]
    return dg.RunRequest(
        run_key,
        job_name=blueprint.job("observe"),
        tags={**tags, RANGE_START: keys[0], RANGE_END: keys[1]},
        asset_selection=selection,
        asset_check_keys=checks,
    )
