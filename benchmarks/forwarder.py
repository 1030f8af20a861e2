"""The forwarder's throughput against a plain batch write, and its effect on the endpoint's latency.

    python -m benchmarks.forwarder        # needs influxd: `tests/services/install.sh`

The forwarder, a separate process, writes a log of predictions with forty features each into a real InfluxDB. In the
same run influxdb-client writes the same points as prepared lines, in batches of the size that InfluxDB recommends.
Goal: the forwarder has at least half of that rate. Then the backlog of an outage is forwarded while a client sends
requests of one row to the endpoint. Goal: their p95 latency grows by a fifth at most, and the forwarder's memory does
not grow.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from benchmarks.endpoint import DEFS, HEADERS, client, percentiles, trained
from mlops_assets.prediction.inputs import to_records
from mlops_assets.prediction.records import PredictionRecord
from mlops_assets.resources.scoring.config import ModelRef
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.resources.telemetry.forwarder import LINES
from mlops_assets.resources.telemetry.forwarding import LogSource, forwarding_backlog
from mlops_assets.resources.telemetry.prediction_log import PredictionLog, telemetry_path
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import event_id

sys.path.append(str(Path(__file__).parent.parent / "tests" / "services"))
from prediction_logs import T0, forwarding
from servers import BUCKET, ORG, Influx, wait_until

GOAL, GROWTH = 0.5, 1.2
RECORDS, BACKLOG = 20_000, 100_000
PROJECT = "bench"
FEATURES = [f"cnt__feature_{number}" for number in range(40)]
REQUESTS = 20_000
"""Requests before, and during the forwarding. With a tenth of them noise alone changes the p95 by a fifth."""


def fill(log: PredictionLog, records: int) -> None:
    """Write predictions as a service logs them."""
    number, draw = log.feature_set(FEATURES, {}), np.random.default_rng(1)
    history = draw.normal(size=168).tolist()
    for start in range(0, records, 1000):
        log.record([prediction(number, start + hour, draw, history) for hour in range(1000)])
    log.checkpoint()


def prediction(feature_set: int, hour: int, draw: np.random.Generator, history: list[float]) -> PredictionRecord:
    """Return one prediction."""
    at = T0 + timedelta(hours=hour)
    return PredictionRecord(
        event_id=event_id(PROJECT, None, at),
        role="champion",
        version=1,
        dataset="d1",
        project=PROJECT,
        entity=None,
        event_time=at,
        due=at - timedelta(hours=24),
        answered_at=at,
        now=at - timedelta(hours=24),
        late=False,
        entity_known=True,
        inputs={"event_time": at.isoformat(), "temp": float(draw.normal()), "cnt": history},
        feature_set=feature_set,
        features=draw.normal(size=len(FEATURES)),
        prediction=float(draw.normal()),
        probabilities=None,
    )


def lines_of(log: PredictionLog) -> list[str]:
    """Return the points of a log as lines, as the forwarder makes them."""
    source, lines, position = LogSource(PROJECT, log, "answers"), list[str](), 0
    while (batch := source.batch(1000)).records:
        lines += batch.lines
        source._position = position = batch.position
    assert position
    return lines


def plain_rate(influx: Influx, lines: list[str], records: int) -> float:
    """Return the rate of a plain batch write in records per second."""
    from influxdb_client.client.influxdb_client import InfluxDBClient
    from influxdb_client.client.write_api import SYNCHRONOUS

    with (
        InfluxDBClient(influx.url, influx.token, org=ORG, enable_gzip=True) as client,
        client.write_api(write_options=SYNCHRONOUS) as api,
    ):
        begun = time.perf_counter()
        for start in range(0, len(lines), LINES):
            api.write(BUCKET, ORG, lines[start : start + LINES])
        return records / (time.perf_counter() - begun)


def forwarded_rate(influx: Influx, home: Path, log: PredictionLog, records: int) -> float:
    """Return the forwarder's rate in records per second, from the moment at which it is ready."""
    with forwarding(home, influx.environment()):
        begun, left = time.perf_counter(), forwarding_backlog(log)
        wait_until(lambda: not forwarding_backlog(log), 600)
        return left / (time.perf_counter() - begun)


def rates(folder: Path) -> float:
    """Measure both rates, each with an InfluxDB of its own, and return their ratio."""
    with PredictionLog(telemetry_path(folder / "rates" / "projects", PROJECT)) as log:
        fill(log, RECORDS)
        lines = lines_of(log)
        with Influx(folder / "plain") as influx:
            plain = plain_rate(influx, lines, RECORDS)
        with Influx(folder / "forwarded") as influx:
            ours = forwarded_rate(influx, folder / "rates", log, RECORDS)
    print(f"{len(lines) / RECORDS:.1f} points per record, {sum(map(len, lines)) / RECORDS / 1000:.1f} kB")
    print(f"plain batch write of prepared lines {plain:8.0f} records/s")
    print(f"forwarder                           {ours:8.0f} records/s")
    print(f"ratio {ours / plain:.2f} (goal: at least {GOAL:g})")
    return ours / plain


def drain(folder: Path) -> float:
    """Forward a backlog while the endpoint is busy, and return the growth factor of its p95 latency."""
    spec = ProjectSpec.model_validate(yaml.safe_load(DEFS.read_text())["attributes"])
    bundle, inputs, schema = trained(spec, folder)
    bodies = [json.dumps({"dataframe_records": [record]}).encode() for record in to_records(inputs, schema)[:200]]
    home = folder / "drained"
    with (
        PredictionLog(telemetry_path(home / "projects", PROJECT)) as log,
        Influx(folder / "drain") as influx,
        EndpointProcess(spec, home / "projects") as endpoint,
    ):
        fill(log, BACKLOG)
        give_idle_priority(influx)
        try:
            port = endpoint.start(serve=ModelRef(version=1, folder=bundle)).port
            send = client(port)
            request_times(send, bodies, 200)
            before = request_times(send, bodies, REQUESTS)
            during, memory, seconds = while_draining(home, influx, log, send, bodies)
            after = request_times(send, bodies, REQUESTS)
        finally:
            endpoint.stop()
    (_, first), (_, busy), (_, last) = (percentiles(taken) for taken in (before, during, after))
    growth = busy / percentiles(before + after)[1]
    print(f"{BACKLOG:,} records forwarded in {seconds:.0f} s during {len(during):,} consecutive requests")
    print(f"endpoint's p95: {first:.2f} ms before, {busy:.2f} ms during, {last:.2f} ms after")
    print(f"growth {growth:.2f}, relative to before and after (goal: at most {GROWTH:g})")
    print(f"forwarder's memory: {memory[len(memory) // 5]:.0f} MB after a fifth, {memory[-1]:.0f} at the end")
    return growth


def give_idle_priority(influx: Influx) -> None:
    """Let InfluxDB run only on idle cores, since in production it has a machine of its own."""
    for thread in psutil.Process(influx.pid).threads():
        os.sched_setscheduler(thread.id, os.SCHED_IDLE, os.sched_param(0))
        os.sched_setaffinity(thread.id, {max(os.sched_getaffinity(0))})


def request_times(
    send: Callable[[bytes, dict[str, str]], tuple[float, Any]], bodies: list[bytes], times: int
) -> list[float]:
    """Send requests one after the other, and return the seconds that each took."""
    return [send(bodies[number % len(bodies)], HEADERS)[0] for number in range(times)]


def while_draining(
    home: Path,
    influx: Influx,
    log: PredictionLog,
    send: Callable[[bytes, dict[str, str]], tuple[float, Any]],
    bodies: list[bytes],
) -> tuple[list[float], list[float], float]:
    """Return the seconds of each request, the forwarder's memory (MB) at intervals, and the seconds until the end."""
    with forwarding(home, influx.environment()) as found:
        assert found.process is not None
        process, begun = psutil.Process(found.process.pid), time.perf_counter()
        taken, memory = list[float](), list[float]()
        while forwarding_backlog(log):
            taken += request_times(send, bodies, 100)
            memory.append(process.memory_info().rss / 2**20)
        return taken, memory, time.perf_counter() - begun


def main() -> None:
    """Measure, and print the results."""
    with tempfile.TemporaryDirectory() as name:
        rates(Path(name))
        drain(Path(name))


if __name__ == "__main__":
    main()
