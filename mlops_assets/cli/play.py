"""`play`: starts a platform on this machine, trains the first model if there is none, and replays some windows."""

from __future__ import annotations

from rich.console import Console

from mlops_assets.cli.bootstrap import bootstrap, start_platform, wait_for_interrupt
from mlops_assets.cli.instance import instance_of
from mlops_assets.cli.processes import end_recorded
from mlops_assets.cli.projects import project_context_of, repository_settings
from mlops_assets.cli.replay import play
from mlops_assets.cli.status import project_status, render


def play_project(project: str, windows: int, console: Console, *, stay: bool) -> None:
    """Replay some windows of a project, with everything that this needs.

    Args:
        project: name of a project with a replay clock.
        windows: how many windows to replay.
        console: where progress and the status at the end are printed.
        stay: keep everything running until Ctrl-C; else it is stopped at the end.
    """
    settings = repository_settings()
    context = project_context_of(settings, project)
    try:
        console.rule("start Dagster and MLflow", align="left")
        dagster, mlflow = start_platform(settings, context)
        with instance_of(settings) as instance:
            if context.ledger_view().deployment_period is None:
                console.rule("bootstrap: publish the history, train and deploy the first model", align="left")
                bootstrap(settings, context, instance, dagster, console)
            console.rule(f"replay {windows} windows", align="left")
            play(context, instance, console, windows, None)
        console.print(render(project, project_status(context)))
        for name, where in (("Dagster", dagster.url), ("MLflow", mlflow), ("endpoint", context.endpoint.url)):
            console.print(f"{name:>9}: {where}", highlight=False)
        if stay:
            wait_for_interrupt(console)
    finally:
        end_recorded(settings.pids)
        context.endpoint.stop()
