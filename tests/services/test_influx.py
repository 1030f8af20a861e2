"""Telemetry that is read from InfluxDB is the same as that in the service's log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from prediction_logs import HOUR, T0, fill, open_log, predictions
from servers import BUCKET, ORG, Influx

from mlops_assets.errors import TelemetryError
from mlops_assets.resources.telemetry.forwarder import Forwarder
from mlops_assets.resources.telemetry.forwarding import TABLES, LogSource, forwarding_backlog
from mlops_assets.resources.telemetry.influx import InfluxPredictions, Server
from mlops_assets.resources.telemetry.prediction_log import PredictionLog

HOURS = 400


def server_at(influx: Influx) -> Server:
    return Server(influx.url, ORG, BUCKET, lambda: influx.token)


def forward(log: PredictionLog, project: str, influx: Influx) -> None:
    """Forward all records of a log."""
    stop = threading.Event()
    forwarder = Forwarder(server_at(influx), lambda: {(project, t): LogSource(project, log, t) for t in TABLES}, stop)
    thread = threading.Thread(target=forwarder.run)
    thread.start()
    InfluxPredictions(server_at(influx), project, lambda: forwarding_backlog(log)).counts(project)
    stop.set()
    thread.join()


def require_same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Require identical frames; missing features are equal."""
    texts = [frame.assign(features=frame["features"].map(repr)) for frame in (left, right)]
    pd.testing.assert_frame_equal(texts[0], texts[1], check_exact=True)


@pytest.fixture(scope="module", params=["numbers", "classes"])
def both(
    request: pytest.FixtureRequest, influx: Influx, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[PredictionLog, InfluxPredictions, str]]:
    project = f"reads_{request.param}"
    with open_log(tmp_path_factory.mktemp(project), project) as log:
        fill(log, project, HOURS, text=request.param == "classes")
        forward(log, project, influx)
        yield log, InfluxPredictions(server_at(influx), project, lambda: forwarding_backlog(log)), project


def test_predictions_are_identical_and_in_the_same_order(
    both: tuple[PredictionLog, InfluxPredictions, str],
) -> None:
    log, read, project = both
    for roles in (("champion",), ("champion", "shadow")):
        here = log.predictions(project, T0 + HOUR, T0 + (HOURS - 7) * HOUR, roles)  # type: ignore[arg-type]
        there = read.predictions(project, T0 + HOUR, T0 + (HOURS - 7) * HOUR, roles)  # type: ignore[arg-type]
        assert len(here) == (HOURS - 8) * len(roles)
        require_same(here, there)


def test_predictions_of_all_versions_for_an_event_are_found(
    both: tuple[PredictionLog, InfluxPredictions, str],
) -> None:
    log, read, project = both
    ids = [prediction.event_id for prediction in predictions(log, project, 0, 2)]
    here, there = log.predictions_for_events(ids), read.predictions_for_events(ids)
    assert sorted(here["role"]) == ["ad_hoc"] * 4 + ["champion"] * 2 + ["shadow"] * 2
    require_same(here, there)


def test_counts_requests_and_health_are_identical(both: tuple[PredictionLog, InfluxPredictions, str]) -> None:
    log, read, project = both
    assert read.counts(project) == log.counts(project) == {"answered": HOURS, "late": 58}
    assert read.predicted_events(project) == log.predicted_events(project)
    assert len(log.predicted_events(project)) == HOURS
    start, end = T0 + 2 * HOUR, T0 + 99 * HOUR
    pd.testing.assert_frame_equal(log.requests(start, end), read.requests(start, end), check_exact=True)
    assert read.health(start, end) == log.health(start, end)
    assert read.health(start, end).requests == 4 * 97


def test_forwarding_a_log_again_changes_nothing(
    both: tuple[PredictionLog, InfluxPredictions, str], influx: Influx
) -> None:
    log, read, project = both
    before = read.predictions(project, T0, T0 + HOURS * HOUR)
    log.path.with_name("forwarded.sqlite").unlink()
    forward(log, project, influx)
    require_same(before, read.predictions(project, T0, T0 + HOURS * HOUR))
    assert read.counts(project)["answered"] == HOURS


def test_reader_waits_for_forwarder_and_reports_its_absence(influx: Influx, tmp_path: Path) -> None:
    with open_log(tmp_path, "waits") as log:
        log.record(predictions(log, "waits", 0, 3))
        read = InfluxPredictions(server_at(influx), "waits", lambda: forwarding_backlog(log), wait_within=0.3)
        with pytest.raises(TelemetryError, match="3 records of the log are not in InfluxDB") as caught:
            read.predictions("waits", T0, T0 + HOUR)
        assert "start it" in str(caught.value)
