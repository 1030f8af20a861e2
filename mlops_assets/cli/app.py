"""The commands. Each reads its arguments, calls one function, and prints what it returns."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from mlops_assets.errors import PlatformError, SpecError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Deploys ML projects as Dagster assets and keeps them accurate.",
    pretty_exceptions_enable=False,
)
WIDTH = None if sys.stdout.isatty() else 160
"""Columns of the output. Without a terminal there is no width, and rich's 80 columns would break the tables."""
console, errors = Console(width=WIDTH), Console(stderr=True)

Project = Annotated[str, typer.Argument(help="Name of the project.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for other tools.")]

serve = typer.Typer(
    no_args_is_help=True, help="Run one process of the platform in the foreground, for containers and services."
)
app.add_typer(serve, name="serve")
Host = Annotated[str, typer.Option(help="Address to listen on.")]
HealthHost = Annotated[str, typer.Option(help="Address of /healthz, /readyz and /metrics.")]
HealthPort = Annotated[int, typer.Option(help="Port of /healthz, /readyz and /metrics.")]
Code = Annotated[
    str | None, typer.Option(help="HOST:PORT of the code location's gRPC server. Default: a child process.")
]


@contextmanager
def translate_errors() -> Iterator[None]:
    """Print a platform error of the block for people, and exit with status 1."""
    try:
        yield
    except PlatformError as error:
        print_error(error)
        raise typer.Exit(1) from error


def print_error(error: PlatformError) -> None:
    """Print a platform error: project, place and finding in one line, the remedy in the next."""
    errors.print(f"[bold red]{escape(error.project)}[/]: {escape(error.place)}: {escape(error.found)}", highlight=False)
    errors.print(f"  -> {escape(error.remedy)}", highlight=False)


def print_json(content: Any) -> None:
    """Print JSON for other tools; missing numbers are null."""
    # JSON has no NaN: orjson writes null
    sys.stdout.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode() + "\n")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="New or empty folder. The package in it is named after it.")],
    project: Annotated[str, typer.Option(help="Name of the example project.")] = "heat_demand",
) -> None:
    """Write a repository for your own projects, with an example project that runs at once."""
    from mlops_assets.cli.init import init_repository

    with translate_errors():
        files = init_repository(folder, project)
    console.print(f"{len(files)} files written to {folder}; next: cd {folder} && make demo", highlight=False)


@app.command()
def play(
    project: Project,
    windows: Annotated[int, typer.Option(help="How many windows to replay.", min=1)] = 4,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop everything when done instead of staying up.")] = False,
) -> None:
    """Start Dagster and MLflow, train the first model if there is none, and replay some windows."""
    from mlops_assets.cli.play import play_project

    with translate_errors():
        play_project(project, windows, console, stay=not exit_ and sys.stdout.isatty())


@app.command()
def demo(
    exit_: Annotated[bool, typer.Option("--exit", help="Stop everything when done instead of staying up.")] = False,
    no_retraining: Annotated[
        bool, typer.Option("--no-retraining", help="Replay the same weeks with retraining on hold.")
    ] = False,
    weeks: Annotated[int, typer.Option(help="Stop after this many weeks at the latest.")] = 40,
) -> None:
    """Replay real data of the project bike_demand until a retraining has improved the predictions."""
    from mlops_assets.cli.demo import Demo

    with translate_errors():
        status = Demo(console, hold=no_retraining, most=weeks, stay=not exit_ and sys.stdout.isatty()).play()
    raise typer.Exit(status)


@app.command()
def status(
    project: Annotated[str | None, typer.Argument(help="Name of a project. Default: all projects.")] = None,
    as_json: Json = False,
) -> None:
    """Show clock, champion, endpoint, events, decisions, and the losses of champion, first model and baseline."""
    from mlops_assets.cli.projects import project_contexts, repository_settings
    from mlops_assets.cli.status import project_status, render

    with translate_errors():
        facts = {
            "projects": {
                project_context.spec.name: project_status(project_context)
                for project_context in project_contexts(repository_settings(), project)
            }
        }
    if as_json:
        print_json(facts)
    else:
        for name, found in facts["projects"].items():
            console.print(render(name, found))


@app.command()
def replay(
    project: Project,
    windows: Annotated[int | None, typer.Option(help="Replay this many windows.")] = None,
    until: Annotated[
        datetime | None, typer.Option(help="Replay until this date or time, in the project's time zone.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Move a project's replay clock step by step, and wait until the loop is idle after each step."""
    from mlops_assets.cli.projects import project_context_of, repository_settings
    from mlops_assets.cli.replay import replay_project

    if (windows is None) == (until is None):
        errors.print("give either --windows N or --until DATE")
        raise typer.Exit(2)
    with translate_errors():
        settings = repository_settings()
        moments = replay_project(
            settings, project_context_of(settings, project), console if not as_json else errors, windows, until
        )
    if as_json:
        print_json({"project": project, "moments": moments})


@app.command()
def retrain(project: Project, as_json: Json = False) -> None:
    """Retrain now. This ignores cooldown and budget; the candidate must still beat the champion."""
    from mlops_assets.acquisition.training_start import too_few_unseen
    from mlops_assets.cli.projects import project_context_of, repository_settings
    from mlops_assets.errors import NotReady, Refused
    from mlops_assets.retraining.requests import request_retraining

    with translate_errors():
        project_context = project_context_of(repository_settings(), project)
        view = project_context.ledger_view()
        if view.deployment_period is None:
            raise NotReady(project, "retrain", "no champion serves yet", f"run the job {project}_bootstrap first")
        if (reason := too_few_unseen(project_context, view)) is not None:
            raise Refused(project, "retrain", reason, "wait for more labelled windows")
        decision = request_retraining(
            project_context.ledger, project_context.timeline, uuid4().hex, project_context.now()
        )
    if as_json:
        print_json({"project": project, "decision": decision.id, "reason": decision.reason})
    else:
        console.print(f"recorded as decision [bold]{decision.id}[/]: {escape(decision.reason)}")
        console.print(f"while `dagster dev` runs, the sensor {project}_retraining launches the job {project}_retrain")


@app.command()
def rollback(
    project: Project,
    to: Annotated[
        int | None, typer.Option(help="Version of a former champion. Default: the previous champion.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Deploy a former champion again, at once. Cooldown and warm-up start again, so the policy does not undo it."""
    from mlops_assets.cli.projects import project_context_of, repository_settings
    from mlops_assets.deployment.promotion import roll_back

    with translate_errors():
        step = roll_back(project_context_of(repository_settings(), project), to, request=uuid4().hex)
    if as_json:
        print_json({"project": project, "version": step.version, "previous": step.previous, "at": step.at.isoformat()})
    else:
        console.print(f"version {step.version} is deployed again, in place of version {step.previous}")


@app.command()
def provenance(
    project: Project,
    event_id: Annotated[str, typer.Argument(help="The event_id of a prediction.")],
    as_json: Json = False,
) -> None:
    """Show where a prediction comes from: features, version, MLflow run, dataset, windows, and the decision."""
    from mlops_assets.cli.projects import project_context_of, repository_settings
    from mlops_assets.cli.provenance import render, trace

    with translate_errors():
        found = trace(project_context_of(repository_settings(), project), event_id)
    if as_json:
        print_json(found)
    else:
        console.print(render(event_id, found))


@app.command()
def hold(project: Project, release: Annotated[bool, typer.Option("--release", help="End the hold.")] = False) -> None:
    """Put the policy's retrainings on hold; decisions list the triggers being held. --release ends the hold."""
    from mlops_assets.cli.projects import project_context_of, repository_settings
    from mlops_assets.ledger.facts import RetrainingHeld

    with translate_errors():
        project_context = project_context_of(repository_settings(), project)
        project_context.ledger.append(
            project,
            RetrainingHeld(
                at=project_context.now(), held=not release, number=len(project_context.ledger_view().of(RetrainingHeld))
            ),
        )
    console.print(f"{project}: retraining is {'released' if release else 'on hold'}")


@app.command()
def dashboards(
    out: Annotated[Path, typer.Option(help="Folder in which dashboards/ and provisioning/ are written.")],
    as_json: Json = False,
) -> None:
    """Write Grafana dashboards of all projects, with the provisioning files for Grafana."""
    from mlops_assets.cli.projects import repository_settings, specs
    from mlops_assets.dashboards.provisioning import write

    out = out.absolute()
    with translate_errors():
        settings = repository_settings()
        files = write(out, list(specs(settings).values()), settings.influx_org, settings.influx_bucket)
    if as_json:
        print_json({"files": [str(path) for path in files]})
    else:
        console.print("\n".join(str(path) for path in files), highlight=False)


@app.command("check-cluster")
def check_cluster(
    namespace: Annotated[str, typer.Option(help="Namespace in which the chart will be installed.")],
    context: Annotated[
        str | None, typer.Option(help="Context of the kubeconfig. Default: the current context.")
    ] = None,
    secret: Annotated[str, typer.Option(help="The chart's `secretName`.")] = "mlops-assets",
    image: Annotated[
        list[str] | None, typer.Option(help="An image that nodes need, as repository:tag. Repeatable.")
    ] = None,
    pull_secret: Annotated[
        list[str] | None, typer.Option(help="One of the chart's `imagePullSecrets`. Repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check whether the Helm chart can be installed in a namespace, and say what is missing.

    Nothing is changed. An image that no node holds is pulled by a pod, which is deleted again.
    """
    from mlops_assets.cli.cluster_check import check_cluster as look

    findings = []
    for found in look(context, namespace, secret, image or [], pull_secret or []):
        findings.append(found)
        if not as_json:
            mark = "ok" if found.remedy is None else "NO" if found.stops else "??"
            typer.echo(f"{mark}  {found.what}" + ("" if found.remedy is None else f"\n    -> {found.remedy}"))
    if as_json:
        print_json({"findings": [asdict(found) for found in findings]})
    raise typer.Exit(1 if any(found.remedy is not None and found.stops for found in findings) else 0)


@app.command("dagster-home")
def show_dagster_home() -> None:
    """Print the folder for DAGSTER_HOME, as in `DAGSTER_HOME=$(mlops-assets dagster-home) dagster dev`."""
    from mlops_assets.cli.instance import dagster_home
    from mlops_assets.cli.projects import repository_settings

    with translate_errors():
        typer.echo(dagster_home(repository_settings()))


@app.command()
def down() -> None:
    """Stop every process that was started on this state folder, by its recorded process id."""
    from mlops_assets.cli.processes import end_recorded
    from mlops_assets.cli.projects import open_project, repository_settings, served_specs, specs
    from mlops_assets.resources.compute.h2o import end_orphans

    with translate_errors():
        settings = repository_settings()
        ended = end_recorded(settings.pids)
        # a project that was renamed, or whose YAML is not valid any more, may still have a running service
        projects = served_specs(settings.home.absolute())
        try:
            projects |= specs(settings)
        except SpecError as error:
            print_error(error)
        ended += [
            f"endpoint of {name}" for name, spec in projects.items() if open_project(settings, spec).endpoint.stop()
        ]
        ended += [f"JVM {pid}" for pid in end_orphans(settings.pids)]
    console.print("stopped: " + (", ".join(ended) if ended else "nothing was running"))


@serve.command("webserver")
def serve_webserver(
    host: Host = "127.0.0.1",
    port: int = 3000,
    health_host: HealthHost = "127.0.0.1",
    health_port: HealthPort = 3001,
    code: Code = None,
) -> None:
    """Run Dagster's webserver: UI and GraphQL."""
    from mlops_assets.cli import dagster_processes
    from mlops_assets.cli.projects import repository_settings

    with translate_errors():
        dagster_processes.run(
            dagster_processes.webserver(repository_settings(), host, port, code), health_host, health_port
        )


@serve.command("daemon")
def serve_daemon(health_host: HealthHost = "127.0.0.1", health_port: HealthPort = 3002, code: Code = None) -> None:
    """Run Dagster's daemon, which evaluates sensors and launches runs."""
    from mlops_assets.cli import dagster_processes
    from mlops_assets.cli.projects import repository_settings

    with translate_errors():
        dagster_processes.run(dagster_processes.daemon(repository_settings(), code), health_host, health_port)


@serve.command("code")
def serve_code(
    host: Host = "127.0.0.1",
    port: int = 4000,
    health_host: HealthHost = "127.0.0.1",
    health_port: HealthPort = 4001,
) -> None:
    """Run the code location: the projects' definitions over gRPC, and their runs."""
    from mlops_assets.cli import dagster_processes
    from mlops_assets.cli.projects import repository_settings

    with translate_errors():
        dagster_processes.run(
            dagster_processes.code_location(repository_settings(), host, port), health_host, health_port
        )


@serve.command("endpoint")
def serve_endpoint(
    project: Project,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: MLOPS_ASSETS_HOST.")] = None,
    port: int = 8080,
) -> None:
    """Run a project's scoring service with its champion. Probes are /livez and /readyz."""
    from mlops_assets.cli.endpoint import become_endpoint
    from mlops_assets.cli.projects import repository_settings, spec_of
    from mlops_assets.logs import log_to_stdout

    with translate_errors():
        log_to_stdout(project)
        settings = repository_settings()
        become_endpoint(spec_of(settings, project), settings, host or settings.host, port)


@serve.command("forwarder")
def serve_forwarder(host: Host = "127.0.0.1", port: int = 9110) -> None:
    """Run the forwarder, which copies this state folder's telemetry to InfluxDB. Probes are /healthz and /readyz."""
    from mlops_assets.resources.settings import Settings

    with translate_errors():
        home = str(Settings().home.absolute())
    sys.stdout.flush()
    command = ["-m", "mlops_assets.resources.telemetry.forwarder", "--host", host, "--port", str(port)]
    os.execve(sys.executable, [sys.executable, *command], {**os.environ, "MLOPS_ASSETS_HOME": home})
