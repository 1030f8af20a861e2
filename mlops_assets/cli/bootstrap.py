"""Starts a project's platform on this machine, and its first training as the UI launches it."""

from __future__ import annotations

import time

import dagster as dg
from dagster_graphql import DagsterGraphQLClient
from rich.console import Console

from mlops_assets.cli.local_services import start_dagster, start_forwarder, start_mlflow
from mlops_assets.cli.processes import Started
from mlops_assets.errors import PlatformError
from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.settings import Settings


def start_platform(settings: Settings, context: ProjectResources) -> tuple[Started, str]:
    """Start Dagster, MLflow's pages unless a server is configured, and the forwarder where InfluxDB is configured.

    All are recorded for `down`.

    Returns:
        Dagster, and the address of MLflow.
    """
    dagster = start_dagster(settings)
    forwarder = start_forwarder(settings) if settings.influx_url else None
    context.registry.ensure_experiment()
    mlflow = settings.mlflow_url or start_mlflow(settings).url
    dagster.wait_until_ready("/server_info")
    if forwarder is not None:
        forwarder.wait_until_ready("/readyz")
    return dagster, mlflow


def bootstrap(
    settings: Settings, context: ProjectResources, instance: dg.DagsterInstance, dagster: Started, console: Console
) -> None:
    """Launch the project's bootstrap job through the webserver, print its steps, and return at its end.

    Raises:
        PlatformError: when it fails, or its candidate is not good enough to serve.
    """
    project = context.spec.name
    client = DagsterGraphQLClient("127.0.0.1", port_number=int(dagster.url.rsplit(":", 1)[1]))
    run_id = client.submit_job_execution(
        f"{project}_bootstrap",
        repository_location_name=settings.repository.code_location,
        repository_name="__repository__",
    )
    shown: set[str] = set()
    while not (run := find_run(instance, project, run_id)).is_finished:
        for event in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_SUCCESS):
            step = str(event.step_key)
            if step not in shown:
                shown.add(step)
                console.print(f"  {step.replace('__', ' / ')}", highlight=False)
        time.sleep(0.3)
    view = context.ledger_view()
    if not run.is_success or view.deployment_period is None:
        why = [" ".join(verdict.reasons) for verdict in view.verdicts] or [f"run {run_id} ended {run.status.value}"]
        raise PlatformError(project, "bootstrap", "; ".join(why), f"see {settings.home / 'logs' / 'dagster.log'}")


def find_run(instance: dg.DagsterInstance, project: str, run_id: str) -> dg.DagsterRun:
    """Return a run.

    Raises:
        PlatformError: when Dagster's storage has none of that id.
    """
    run = instance.get_run_by_id(run_id)
    if run is None:
        remedy = "check whether two Dagsters use this state folder"
        raise PlatformError(project, f"run {run_id}", "Dagster's storage does not have it", remedy)
    return run


def wait_for_interrupt(console: Console) -> None:
    """Return when the user presses Ctrl-C."""
    console.print("everything stays up until Ctrl-C")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("stopping")
