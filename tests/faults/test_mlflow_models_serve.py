"""A registered version served by `mlflow models serve`, which uses no part of our service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
from example_project import START, States, running_harness

from mlops_assets.cli.processes import Started, free_port


@contextmanager
def stock(uri: str, model: str, log: Path) -> Iterator[str]:
    """Start MLflow's own server on a registered version, and yield its address."""
    url = f"http://127.0.0.1:{(port := free_port(0))}"
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "serve", "-m", model, "--env-manager", "local"]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": uri,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=log.parent,
        )
    try:
        Started("mlflow models serve", process, log, url).wait_until_ready("/ping", within=240.0)
        yield url
    finally:
        # MLflow's command starts the server as a child process and does not end it.
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for each in family:
            each.terminate()
        _, left = psutil.wait_procs(family, timeout=10.0)
        for each in left:
            each.kill()
        process.wait(10)


def test_mlflow_models_serve_predicts_exactly_as_the_endpoint(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home")) as harness:
        predictions = harness.context.telemetry.predictions(
            "example", START, START + timedelta(days=40), roles=("champion",)
        )
        rows = list(predictions["inputs"].iloc[::7][:20])
        assert len(rows) == 20
        ours = harness.context.endpoint.ask(rows)
        with stock(harness.context.settings.mlflow_uri, "models:/example/1", tmp_path / "stock.log") as url:
            body = {"dataframe_records": rows}
            response = httpx.post(f"{url}/invocations", json=body, timeout=60.0, trust_env=False)

        assert response.status_code == 200, response.text
        theirs = [row["prediction"] for row in response.json()["predictions"]]
        assert theirs == [row["prediction"] for row in ours] == list(predictions["prediction"].iloc[::7][:20])
        assert len(set(theirs)) > 10
