"""Starts the platform's processes on this machine: Dagster, MLflow's UI, the forwarder."""

from __future__ import annotations

from mlops_assets.cli.instance import dagster_home
from mlops_assets.cli.processes import Started, free_port, start
from mlops_assets.resources.settings import Settings


def start_dagster(settings: Settings) -> Started:
    """Start webserver, daemon and code location with `dagster dev`."""
    port = free_port(3000)
    workspace = str(settings.repository.workspace)
    command = ["dagster", "dev", "--host", "127.0.0.1", "--port", str(port), "-w", workspace]
    return start("Dagster", command, _url(port), settings, {"DAGSTER_HOME": str(dagster_home(settings))})


def start_mlflow(settings: Settings) -> Started:
    """Start MLflow's server on the embedded store."""
    port, artifacts = free_port(5000), settings.home / "mlflow" / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", settings.mlflow_uri, "--default-artifact-root", artifacts.as_uri()]
    # MLflow's job execution takes 2 GB and is not used here
    return start("MLflow", command, _url(port), settings, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})


def start_forwarder(settings: Settings) -> Started:
    """Start the process that copies this state folder's telemetry to InfluxDB."""
    port = free_port(9110)
    command = ["mlops_assets.resources.telemetry.forwarder", "--port", str(port)]
    return start("forwarder", command, _url(port), settings)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
