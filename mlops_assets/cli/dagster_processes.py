"""`serve webserver | daemon | code`: each of Dagster's processes alone, in the foreground."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import NoReturn

import dagster as dg
import httpx
import typer
import yaml

from mlops_assets.cli.instance import dagster_home, instance_of
from mlops_assets.cli.processes import environment_of
from mlops_assets.cli.supervisor import Part, Supervisor
from mlops_assets.ledger.database import Database
from mlops_assets.logs import log_to_stdout
from mlops_assets.resources.settings import Settings

HEARTBEAT_WITHIN = 120.0
"""Greatest age of a daemon's newest heartbeat, in seconds; a daemon writes one every 30 s."""
LOADED = "{workspaceOrError{... on Workspace{locationEntries{name locationOrLoadError{__typename}}}}}"
JSON_LOGS = ("--log-format", "json")


def webserver(settings: Settings, host: str, port: int, code: str | None) -> Part:
    """Return the webserver: UI and GraphQL. It is ready when it answers and its code locations are loaded."""
    workspace = workspace_file(settings, code)
    command = ["-m", "dagster_webserver", "--host", host, "--port", str(port), "-w", str(workspace), *JSON_LOGS]
    url = f"http://{_reachable(host)}:{port}"

    def probe(_: float) -> str | None:
        try:
            with httpx.Client(base_url=url, timeout=5.0, trust_env=False) as client:
                client.get("/server_info").raise_for_status()
                response = client.post("/graphql", json={"query": LOADED}).raise_for_status().json()
        except httpx.HTTPError as error:
            return f"the webserver does not answer at {url}: {error!r}"
        entries = response["data"]["workspaceOrError"].get("locationEntries", [])
        loaded = [(entry["locationOrLoadError"] or {}).get("__typename") for entry in entries]
        return None if loaded and set(loaded) == {"RepositoryLocation"} else "a code location is not loaded"

    return Part("webserver", command, settings.repository.root, _environment(settings), probe, _needs(settings))


def daemon(settings: Settings, code: str | None) -> Part:
    """Return the daemon: sensors, run queue and run monitoring. It is ready when each of these has a heartbeat."""
    command = ["-m", "dagster._daemon", "run", "-w", str(workspace_file(settings, code)), *JSON_LOGS]

    opened = ExitStack()

    @cache
    def instance() -> dg.DagsterInstance:
        # kept for the life of this process: opening it costs more than a query
        return opened.enter_context(instance_of(settings))

    def probe(started: float) -> str | None:
        wanted, beats = instance().get_required_daemon_types(), instance().get_daemon_heartbeats()
        since = max(started, time.time() - HEARTBEAT_WITHIN)
        silent = [each for each in wanted if each not in beats or beats[each].timestamp < since]
        return f"no heartbeat of {', '.join(silent)}" if silent else None

    return Part("daemon", command, settings.repository.root, _environment(settings), probe, _needs(settings))


def code_location(settings: Settings, host: str, port: int) -> Part:
    """Return the code location: definitions over gRPC, and runs. Its gRPC health service says whether it is ready."""
    repository = settings.repository
    served = ["-m", repository.target_module, "-d", str(repository.root), "--location-name", repository.code_location]
    command = ["-m", "dagster", "api", "grpc", *served, "--host", host, "--port", str(port), *JSON_LOGS]

    def probe(_: float) -> str | None:
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        request = health_pb2.HealthCheckRequest(service="DagsterApi")
        with grpc.insecure_channel(f"{_reachable(host)}:{port}") as channel:
            try:
                found = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5.0).status
            except grpc.RpcError as error:
                return f"its gRPC health service does not answer: {error.code()}"
        return None if found == health_pb2.HealthCheckResponse.SERVING else f"its gRPC health is {found}"

    return Part("code", command, settings.repository.root, _environment(settings), probe, _needs(settings))


def run(part: Part, health_host: str, health_port: int) -> NoReturn:
    """Run a process in the foreground; this process ends with its exit status."""
    # other libraries log a line per probe at INFO
    log_to_stdout("-", logging.WARNING)
    logging.getLogger("mlops_assets").setLevel(logging.INFO)
    sys.exit(Supervisor(part).run(health_host, health_port))


def workspace_file(settings: Settings, code: str | None) -> Path:
    """Return the workspace file: a code location's server at `HOST:PORT`, or without one the repository's own file."""
    if code is None:
        return settings.repository.workspace
    host, _, port = code.rpartition(":")
    if not host or not port.isdigit():
        raise typer.BadParameter(f"{code!r} is not HOST:PORT")
    server = {"host": host, "port": int(port), "location_name": settings.repository.code_location}
    path = settings.home.absolute() / f"workspace-{host.replace('/', '_')}-{port}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    return path


def _environment(settings: Settings) -> dict[str, str]:
    return {**environment_of(settings), "DAGSTER_HOME": str(dagster_home(settings))}


def _needs(settings: Settings) -> Callable[[], object]:
    """Return a check of Dagster's storage where it is on a server; it keeps no connection open."""
    return lambda: Database(settings.ledger).close() if settings.database_url else None


def _reachable(host: str) -> str:
    """Return the address at which this machine reaches what listens on a host."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
