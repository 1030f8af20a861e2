"""The forwarder writes each record once, also after failures of its own and of InfluxDB, and reports errors."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prediction_logs import T0, ForwarderProcess, forwarding, open_log, predictions
from servers import BUCKET, ORG, Influx, wait_until

from mlops_assets.ledger.facts import WindowLabelled
from mlops_assets.ledger.store import Ledger
from mlops_assets.prediction.records import RequestLine
from mlops_assets.resources.settings import Settings
from mlops_assets.resources.telemetry.forwarding import forwarding_backlog
from mlops_assets.resources.telemetry.influx import InfluxPredictions, Server
from mlops_assets.resources.telemetry.prediction_log import PredictionLog

CHUNK = 200


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Influx]:
    """An InfluxDB that the test may stop."""
    with Influx(tmp_path / "influx") as server:
        yield server


def reader(influx: Influx, log: PredictionLog, project: str, within: float = 60.0) -> InfluxPredictions:
    server = Server(influx.url, ORG, BUCKET, lambda: influx.token)
    return InfluxPredictions(server, project, lambda: forwarding_backlog(log), within)


def predictions_in_influxdb(influx: Influx, log: PredictionLog, project: str) -> int:
    """Wait until all is forwarded, and return how many events have a prediction in InfluxDB."""
    return reader(influx, log, project).counts(project)["answered"]


def test_forwarder_killed_20_times_writes_each_record_once(influx: Influx, tmp_path: Path) -> None:
    draw = random.Random(1)
    with open_log(tmp_path, "killed") as log:
        found = ForwarderProcess(tmp_path, influx.environment())
        for number in range(20):
            log.record(predictions(log, "killed", number * 3 * CHUNK, (number + 1) * 3 * CHUNK))
            found.start()
            wait_until(found.ready, 30)
            time.sleep(draw.uniform(0, 0.3))
            found.end(signal.SIGKILL)
        with forwarding(tmp_path, influx.environment()):
            assert predictions_in_influxdb(influx, log, "killed") == log.counts("killed")["answered"] == 60 * CHUNK


def test_influxdb_killed_during_writes_has_all_records_at_the_end(own: Influx, tmp_path: Path) -> None:
    with open_log(tmp_path, "down") as log, forwarding(tmp_path, own.environment()) as found:
        for number in range(6):
            log.record(predictions(log, "down", number * CHUNK, (number + 1) * CHUNK))
            if number in (1, 3):
                own.kill()
            if number == 2:
                assert not found.ready()
                problem = found.get("/readyz")
                assert problem is not None and "MLOPS_ASSETS_INFLUX_URL" in problem.json()["problem"]
            if number in (2, 4):
                own.start()
            time.sleep(0.5)
        assert predictions_in_influxdb(own, log, "down") == 6 * CHUNK
        wait_until(found.ready, 30)


def test_absent_influxdb_is_reported_and_waited_for(own: Influx, tmp_path: Path) -> None:
    environment = own.environment()
    own.stop()
    with open_log(tmp_path, "early") as log:
        log.record(predictions(log, "early", 0, 10))
        found = ForwarderProcess(tmp_path, environment)
        found.start()
        try:
            wait_until(lambda: found.get("/healthz") is not None, 30)
            wait_until(lambda: "does not answer" in found.log.read_text(), 10)
            assert not found.ready() and found.get("/healthz").status_code == 200  # type: ignore[union-attr]
            own.start()
            assert predictions_in_influxdb(own, log, "early") == 10
            assert found.end() == 0
        finally:
            if found.process is not None and found.process.poll() is None:
                found.end(signal.SIGKILL)
    waits = [json.loads(line) for line in found.log.read_text().splitlines() if "does not answer" in line]
    assert all(line["level"] == "WARNING" and own.url in line["message"] for line in waits)


def test_wrong_token_ends_forwarder_and_is_not_logged(influx: Influx, tmp_path: Path) -> None:
    wrong = {**influx.environment(), "MLOPS_ASSETS_INFLUX_TOKEN": "another-secret"}
    found = ForwarderProcess(tmp_path, wrong)
    found.start()
    assert found.process is not None and found.process.wait(20) == 1
    log_text = found.log.read_text()
    assert "refuses the token" in log_text and "MLOPS_ASSETS_INFLUX_TOKEN" in log_text
    assert "another-secret" not in log_text


def test_missing_bucket_ends_forwarder_with_a_message(influx: Influx, tmp_path: Path) -> None:
    found = ForwarderProcess(tmp_path, {**influx.environment(), "MLOPS_ASSETS_INFLUX_BUCKET": "another"})
    found.start()
    assert found.process is not None and found.process.wait(20) == 1
    assert "MLOPS_ASSETS_INFLUX_BUCKET" in found.log.read_text()


def test_field_type_conflict_pauses_only_its_own_log(own: Influx, tmp_path: Path) -> None:
    taken = httpx.post(
        f"{own.url}/api/v2/write?org={ORG}&bucket={BUCKET}",
        content=b'answer,project=typed,role=champion prediction="a text" 1301716800000000000',
        headers={"Authorization": f"Token {own.token}"},
    )
    assert taken.status_code == 204
    with open_log(tmp_path, "typed") as log, forwarding(tmp_path, own.environment()) as found:
        log.record(predictions(log, "typed", 0, 10))
        log.record_requests([RequestLine(T0, T0, 200, 1.5, "champion", 10)] * 7, rss=None)
        wait_until(lambda: forwarding_backlog(log) == 10, 20)  # requests are still forwarded
        wait_until(lambda: not found.ready(), 20)
        problem = found.get("/readyz").json()["problem"]  # type: ignore[union-attr]
        assert "field type conflict" in problem and "prediction" in problem
        assert forwarding_backlog(log) == 10  # the records are kept until the conflict is resolved


def test_metrics_have_the_backlog_and_sigterm_ends_forwarder_in_time(influx: Influx, tmp_path: Path) -> None:
    with open_log(tmp_path, "measured") as log, forwarding(tmp_path, influx.environment()) as found:
        log.record(predictions(log, "measured", 0, 50))
        assert predictions_in_influxdb(influx, log, "measured") == 50
        metrics = found.get("/metrics").text  # type: ignore[union-attr]
        assert 'mlops_forwarder_records_total{project="measured",source="answers"} 50.0' in metrics
        assert influx.token not in metrics + found.log.read_text()
        began = time.monotonic()
        assert found.end() == 0
        assert time.monotonic() - began < 10


def test_tags_of_predictions_have_bounded_cardinality(influx: Influx, tmp_path: Path) -> None:
    with open_log(tmp_path, "tagged") as log, forwarding(tmp_path, influx.environment()):
        log.record(predictions(log, "tagged", 0, 30))
        read = reader(influx, log, "tagged")
        assert read.counts("tagged")["answered"] == 30
        rows = read.server.query(
            "|> range(start: 0, stop: 2200-01-01T00:00:00Z) |> filter(fn: (r) => r.project == {project})",
            project="tagged",
        )
        columns = {name for row in rows for name in row if not name.startswith("_")} - {"result", "table"}
    assert columns == {"project", "role", "model_version", "dataset_version", "set", "source"}


def test_fact_without_its_labels_pauses_only_the_ledger(influx: Influx, tmp_path: Path) -> None:
    lost = WindowLabelled(at=T0, window="2011-04-02T04:00:00Z", data_version="0" * 32, rows=1)
    with open_log(tmp_path, "kept") as log, forwarding(tmp_path, influx.environment()) as found:
        Ledger(Settings(home=tmp_path).ledger).append("gone", lost)
        log.record(predictions(log, "kept", 0, 10))
        assert predictions_in_influxdb(influx, log, "kept") == 10
        wait_until(lambda: not found.ready(), 30)
        problem = found.get("/readyz")
        assert problem is not None and "labels of window 2011-04-02T04:00:00Z" in problem.json()["problem"]
        assert found.process is not None and found.process.poll() is None
