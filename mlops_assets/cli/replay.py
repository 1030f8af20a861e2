"""`replay`: moves a project's replay clock while Dagster's daemon does the loop's work, and prints each decision."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import dagster as dg
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mlops_assets.cli.instance import instance_of
from mlops_assets.context import ProjectContext
from mlops_assets.errors import Unreachable
from mlops_assets.loop.outstanding import Work
from mlops_assets.loop.replay import DagsterLoop, advance
from mlops_assets.resources.settings import Settings
from mlops_assets.timeline import iso
from mlops_assets.waiting import wait_for_server


def replay_project(
    settings: Settings, project_context: ProjectContext, console: Console, windows: int | None, until: datetime | None
) -> list[str]:
    """Move a project's clock; return the times at which the loop was idle again (ISO 8601 in UTC)."""
    with instance_of(settings) as instance:
        return play(project_context, instance, console, windows, until)


def play(
    project_context: ProjectContext,
    instance: dg.DagsterInstance,
    console: Console,
    windows: int | None,
    until: datetime | None,
) -> list[str]:
    """Move a project's clock on an open instance; return the times at which the loop was idle again.

    Args:
        project_context: a project with a replay clock.
        instance: Dagster's instance, whose daemon runs.
        console: where decisions and progress are printed.
        windows: how many windows to replay; None: until a time.
        until: naive local time of the project, or an aware time; None: by windows.
    """
    bound = None if until is None else project_context.timeline.utc(until)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    moments = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(project_context.spec.name)

        def watch(work: list[Work]) -> None:
            doing = work[0].key if work else "waiting for runs"
            progress.update(task, description=f"{project_context.spec.name} at {iso(project_context.now())}: {doing}")

        def print_outage(error: Unreachable) -> None:
            console.print(str(error), markup=False, highlight=False)

        loop = DagsterLoop(instance, project_context, watch=watch, report_unreachable=print_outage)
        for moment in advance(project_context, loop, windows=windows, until=bound):
            moments.append(iso(moment))
            console.print(
                wait_for_server(partial(line_of, project_context, moment), loop.on_unreachable), highlight=False
            )
    return moments


def line_of(project_context: ProjectContext, moment: datetime) -> str:
    """Return what was decided at a time, in one line."""
    decisions = [d for d in project_context.ledger_view().decisions if d.at == moment]
    text = decisions[-1].text if decisions else "nothing to decide"
    return f"{iso(moment)}  {text}"
