"""`replay`: moves the clock while Dagster's daemon carries out the loop, and shows what happens."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import dagster as dg
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mlops_assets.cli.instance import instance_of
from mlops_assets.errors import Unreachable
from mlops_assets.replay import DagsterLoop, advance
from mlops_assets.retraining.outstanding import Work
from mlops_assets.timeline import iso
from resources.platform import Desk
from resources.settings import Settings
from resources.waiting import waited_for


def replay_project(desk: Desk, console: Console, windows: int | None, until: datetime | None) -> list[str]:
    """Move a project's clock; the moments at which the loop has settled."""
    with instance_of(Settings()) as instance:
        return play(desk, instance, console, windows, until)


def play(
    desk: Desk, instance: dg.DagsterInstance, console: Console, windows: int | None, until: datetime | None
) -> list[str]:
    """As `replay_project`, on an instance that is open."""
    bound = None if until is None else desk.timeline.utc(until)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    moments = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(desk.spec.name)

        def watch(work: list[Work]) -> None:
            doing = work[0].key if work else "settling"
            progress.update(task, description=f"{desk.spec.name} at {iso(desk.now())}: {doing}")

        def told(error: Unreachable) -> None:
            console.print(str(error), markup=False, highlight=False)

        loop = DagsterLoop(instance, desk, watch=watch, told=told)
        for moment in advance(desk, loop, windows=windows, until=bound):
            moments.append(iso(moment))
            console.print(waited_for(partial(line_of, desk, moment), loop.away), highlight=False)
    return moments


def line_of(desk: Desk, moment: datetime) -> str:
    """What was decided at a moment, in one line."""
    decisions = [d for d in desk.history().decisions if d.at == moment]
    text = f"{decisions[-1].outcome}: {decisions[-1].reason}" if decisions else "nothing to decide"
    return f"{iso(moment)}  {text}"
