"""Which run a sensor requests for an item of outstanding work, and when it requests none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.context import ProjectContext
from mlops_assets.jobs import LATE_LABELS, OBSERVING, UNMONITORED
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
"""Wall time between a failed run and the next attempt. It doubles with each failure, up to `LONGEST_PAUSE`. There is no
last attempt: the loop goes on by itself once the cause is gone."""
COUNTED_HEALS = 8
"""How many of the last repairs are searched for failures in a row. That many failures lead to the longest pause."""


def next_run(
    context: dg.SensorEvaluationContext, blueprint: Blueprint, platform: Platform, sensor: Sensor
) -> dg.RunRequest | dg.SkipReason:
    """Return the run that is due now, if this sensor launches it; else the reason why not.

    Work is done one item after the other: the next run is requested when the run before it has ended. The run key names
    the item and the attempt, so that a daemon that restarts does not launch it twice.
    """
    project_context = platform.of(blueprint.spec)
    if (wait := reason_to_wait(context, project_context)) is not None:
        return wait
    work = outstanding(project_context.timeline, project_context.ledger_view(), project_context.now())
    if not work:
        return dg.SkipReason("nothing is outstanding")
    if work[0].sensor != sensor:
        return dg.SkipReason(f"{work[0].key} comes first; the sensor {blueprint.job(work[0].sensor)} launches it")
    return request_run(context, blueprint, project_context, work[0])


def reason_to_wait(context: dg.SensorEvaluationContext, project_context: ProjectContext) -> dg.SkipReason | None:
    """Take or renew the lease on the loop; return why no run may be launched now, or None when one may.

    No run may be launched while another Dagster holds the lease, or while a run of the loop is active.
    """
    if (conflict := project_context.lease.take(lease_holder(context.instance))) is not None:
        return dg.SkipReason(str(conflict))
    active = active_runs(context.instance, project_context.spec.name)
    return dg.SkipReason(f"{active[0].job_name} is running ({active[0].run_id})") if active else None


def request_run(
    context: dg.SensorEvaluationContext, blueprint: Blueprint, project_context: ProjectContext, work: Work
) -> dg.RunRequest | dg.SkipReason:
    """Return the next attempt at an item of work, or the time of that attempt while the pause after a failure lasts."""
    failed = failed_runs(context.instance, blueprint.name, work.key)
    if isinstance(work, Retrain):
        if work.not_before is not None and datetime.now(UTC) < work.not_before:
            return dg.SkipReason(
                f"attempt {work.attempt} at decision {work.decision} starts at {work.not_before.isoformat()}"
            )
    elif failed and (until := _end_of_pause(context, failed)) is not None:
        return dg.SkipReason(
            f"{work.key} has failed {len(failed)} times, last in run {failed[0].run_id}; the next attempt starts at "
            f"{until.isoformat()}"
        )
    number = work.attempt if isinstance(work, Retrain) else len(failed) + 1
    tags = {"project": blueprint.name, LOOP_TAG: blueprint.name, WORK_TAG: work.key, ATTEMPT_TAG: str(number)}
    run_key = f"{blueprint.name}:{work.key}" if isinstance(work, Retrain) else f"{blueprint.name}:{work.key}:{number}"
    return _run_of(blueprint, project_context, work, run_key, tags)


def wait_after_failed_heals(context: dg.SensorEvaluationContext, blueprint: Blueprint) -> datetime | None:
    """Return until when the next repair of the endpoint has to wait, because the last ones failed; None without a wait.

    Without this pause, an endpoint that cannot start would keep the loop from all other work.
    """
    runs = context.instance.get_runs(dg.RunsFilter(job_name=blueprint.job("heal")), limit=COUNTED_HEALS)
    failed = list(takewhile(lambda run: not run.is_success, runs))
    return _end_of_pause(context, failed) if failed else None


def _end_of_pause(context: dg.SensorEvaluationContext, failed: list[dg.DagsterRun]) -> datetime | None:
    """Return the end of the pause after failed runs, newest first; None when it is over."""
    record = context.instance.get_run_record_by_id(failed[0].run_id)
    ended = datetime.fromtimestamp((record.end_time if record else None) or 0.0, UTC)
    until = ended + pause_after(len(failed), PAUSE, LONGEST_PAUSE)
    return until if datetime.now(UTC) < until else None


def _run_of(
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
        case Observe(windows=windows, sensor=sensor):
            assets = LATE_LABELS if sensor == "late_labels" else OBSERVING
            return _observation(blueprint, project_context, list(windows), assets, run_key, tags)
        case Repair(window=window):
            return _observation(blueprint, project_context, [window], OBSERVING, run_key, tags)


def _observation(
    blueprint: Blueprint,
    project_context: ProjectContext,
    windows: list[Window],
    assets: list[str],
    run_key: str,
    tags: dict[str, str],
) -> dg.RunRequest:
    """Return a run over consecutive windows: of these assets, or of `UNMONITORED` before the first promotion."""
    since = monitored_from(project_context.ledger_view())
    names = assets if since is not None and windows[-1].end > since else UNMONITORED
    first, last = (partition_key(blueprint.timeline, window.start) for window in (windows[0], windows[-1]))
    return dg.RunRequest(
        run_key,
        job_name=blueprint.job("observe"),
        tags={**tags, RANGE_START: first, RANGE_END: last},
        asset_selection=[blueprint.key(name) for name in names],
        asset_check_keys=[key for name in names for key in blueprint.checks_of(name)],
    )
