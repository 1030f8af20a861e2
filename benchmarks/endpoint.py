"""Latency of one row in the scoring service, features included, compared with `mlflow models serve`.

    python -m benchmarks.endpoint

A version of the bike project is trained like in the platform (selected tsfresh features, an H2O GBM), logged to MLflow
and served twice: by the platform's scoring service, which also logs each prediction, and by MLflow's own server.
One client with one connection to each sends the same bytes to both in turn. Goal: at least 3 times faster at p50.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from mlops_assets.modeling.automl import Recipe, fit, genmodel_jar
from mlops_assets.modeling.selection import select_features
from mlops_assets.prediction.bundle import ModelLineage
from mlops_assets.prediction.bundle_writer import write_bundle
from mlops_assets.prediction.features import compute, to_frame
from mlops_assets.prediction.inputs import Inputs, cut_inputs, to_records
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.prediction.signature import input_example, signature
from mlops_assets.resources.compute.h2o import h2o_cluster
from mlops_assets.resources.scoring.config import ModelRef, scorer_token
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.resources.tracking.registry import Registry
from mlops_assets.source.project_source import ProjectSource
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, iso, parse

GOAL = 3.0
REQUESTS, WARM_UP = 500, 50
DEFS = Path(__file__).parent.parent / "mlops_assets" / "projects" / "bike_demand" / "defs.yaml"
HEADERS = {"Content-Type": "application/json"}


def trained(spec: ProjectSpec, folder: Path) -> tuple[Path, Inputs, InputSchema]:
    """Train on the rows before the clock's start; return the bundle, the inputs due after it, and their schema."""
    timeline = Timeline(spec)
    as_of = timeline.clock_start
    assert as_of is not None
    rows = ProjectSource(spec, timeline).read(timeline.start, as_of + timedelta(days=30))
    schema = InputSchema.of(spec)
    events = rows[rows["event_time"] >= timeline.start + timedelta(days=9)].reset_index(drop=True)
    inputs = cut_inputs(timeline, schema, events, rows)
    past = (events["event_time"] < as_of).to_numpy()
    target = events[spec.problem.target].to_numpy(dtype=np.float64)
    definitions = select_features(spec.features, inputs.take(past), target[past], spec.problem.task, timeline.lags)
    matrix = compute(definitions, inputs.take(past))
    frame = to_frame(definitions, matrix)
    reference = frame.assign(prediction=target[past])
    frame[spec.problem.target] = target[past]
    recipe = Recipe(
        algorithm="GBM",
        parameters={"ntrees": 60, "max_depth": 6},
        seed=1,
        columns=definitions.names,
        target=spec.problem.target,
        task=spec.problem.task,
    )
    with h2o_cluster(folder, spec.name, "600m"):
        mojo = fit(recipe, frame, project=spec.name).download(folder / "mojo")
        jar = genmodel_jar(folder, project=spec.name)
    lineage = ModelLineage(
        as_of=as_of,
        trained_through=as_of,
        dataset="0" * 32,
        dataset_tag="benchmark",
        code_version="benchmark",
        training="benchmark:1",
        decision=None,
        holdout_loss=0.0,
    )
    bundle = folder / "bundle"
    write_bundle(bundle, lineage, schema, definitions, recipe.model_dump(), mojo, jar, reference, inputs.take(past))
    print(f"{len(definitions.names)} features, {len(definitions.names) - len(definitions.known)} of them by tsfresh")
    return bundle, inputs.take(~past), schema


def logged(spec: ProjectSpec, bundle: Path, example: list[dict[str, Any]], schema: InputSchema, folder: Path) -> str:
    """Log the bundle to a separate MLflow, and return its tracking URI."""
    import mlflow

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    registry = Registry(uri, spec.name, folder / "artifacts")
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(registry.ensure_experiment())
    with mlflow.start_run():
        registry.log_version(bundle, signature(schema), input_example(schema, example), {}, {})
    return uri


@contextmanager
def mlflow_server(name: str, uri: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Run `mlflow models serve` on the registered version; yield its port and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"models:/{name}/1"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "stock.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            # MLflow finds uvicorn on the PATH
            env={
                **os.environ,
                "MLFLOW_TRACKING_URI": uri,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 180
        while not _responds(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mlflow models serve does not respond:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield port, psutil.Process(process.pid)
    finally:
        if process.poll() is None:
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
            for member in family:
                member.terminate()
            psutil.wait_procs(family, timeout=10)
            process.wait(10)


def _responds(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def client(port: int) -> Callable[[bytes, dict[str, str]], tuple[float, Any]]:
    """Return a function that sends a body over one connection, and returns seconds and predictions."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(body: bytes, headers: dict[str, str]) -> tuple[float, Any]:
        began = time.perf_counter()
        connection.request("POST", "/invocations", body, headers)
        response = connection.getresponse()
        content = response.read()
        seconds = time.perf_counter() - began
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {content[:500]!r}")
        return seconds, json.loads(content)["predictions"]

    return send


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """Return p50 and p95 in milliseconds."""
    return statistics.median(seconds) * 1e3, float(np.percentile(seconds, 95)) * 1e3


def compare(ours: int, stock: int, bodies: list[bytes]) -> tuple[list[float], list[float]]:
    """Send the same rows to both in turn, and return the seconds of each; their predictions must be equal."""
    for port in (ours, stock):  # the first response may take so long that an idle connection is closed
        client(port)(bodies[0], HEADERS)
    send_ours, send_stock = client(ours), client(stock)
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM_UP + REQUESTS):
        body = bodies[number % len(bodies)]
        (a, mine), (b, theirs) = send_ours(body, HEADERS), send_stock(body, HEADERS)
        if abs(mine[0]["prediction"] - theirs[0]["prediction"]) > 1e-9:
            raise RuntimeError(f"the predictions differ: {mine[0]} and {theirs[0]}")
        if number >= WARM_UP:
            taken[0].append(a)
            taken[1].append(b)
    return taken


def week_of_events(port: int, token: str, spec: ProjectSpec, records: list[dict[str, Any]]) -> float:
    """Return the seconds of one request of the scorer with a week's events; they are synced to the disk."""
    due = [iso(Timeline(spec).due(parse(record["event_time"]))) for record in records]
    body = json.dumps({"dataframe_records": records, "due": due, "now": due}).encode()
    seconds, _ = client(port)(body, {**HEADERS, "X-Scorer-Token": token})
    return seconds


def main() -> float:
    """Print the measurements, and return the ratio at p50."""
    spec = ProjectSpec.model_validate(yaml.safe_load(DEFS.read_text())["attributes"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle, inputs, schema = trained(spec, folder)
        records = to_records(inputs, schema)
        bodies = [json.dumps({"dataframe_records": [record]}).encode() for record in records[:200]]
        uri = logged(spec, bundle, records[:3], schema, folder)
        with (
            EndpointProcess(spec, folder / "state") as endpoint,
            mlflow_server(spec.name, uri, folder) as (stock, process),
        ):
            try:
                port = endpoint.start(serve=ModelRef(version=1, folder=bundle)).port
                ours, theirs = compare(port, stock, bodies)
                week = records[-168:]
                batch = week_of_events(port, scorer_token(endpoint.folder), spec, week)
                status = endpoint.status()
            finally:
                endpoint.stop()
            memory = sum(member.memory_info().rss for member in [process, *process.children(recursive=True)])
    assert status is not None
    (p50, p95), (stock50, stock95) = percentiles(ours), percentiles(theirs)
    print(f"endpoint             p50 {p50:6.2f} ms   p95 {p95:6.2f} ms   {status.memory_mb:6.0f} MB")
    print(f"mlflow models serve  p50 {stock50:6.2f} ms   p95 {stock95:6.2f} ms   {memory / 2**20:6.0f} MB")
    print(f"a week's {len(week)} events in one request, synced to the disk: {batch * 1e3:.0f} ms")
    print(f"ratio at p50: {stock50 / p50:.2f} (goal: at least {GOAL:g}); at p95: {stock95 / p95:.2f}")
    return stock50 / p50


if __name__ == "__main__":
    main()
