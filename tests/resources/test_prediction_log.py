"""The prediction log: first predictions stay, survive a crash, and are read back exactly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.errors import Refused
from mlops_assets.prediction.records import PredictionRecord, RequestLine
from mlops_assets.resources.telemetry.prediction_log import SCHEMA_VERSION, PredictionLog, telemetry_path
from mlops_assets.timeline import event_id

T0 = datetime(2011, 4, 2, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[PredictionLog]:
    with PredictionLog(telemetry_path(tmp_path, "small")) as log:
        yield log


def answer(log: PredictionLog, hour: int = 0, **changes: Any) -> PredictionRecord:
    time = T0 + hour * HOUR
    made = PredictionRecord(
        event_id=event_id("small", changes.get("entity"), time),
        role="champion",
        version=1,
        dataset="d1",
        project="small",
        entity=None,
        event_time=time,
        due=time - 24 * HOUR,
        answered_at=T0,
        now=time - 24 * HOUR,
        late=False,
        entity_known=True,
        inputs={"event_time": time.isoformat(), "temp": 0.5, "cnt": [1.0, None, 3.0]},
        feature_set=log.feature_set(["temp", "cnt__mean"], {}),
        features=np.array([0.5, np.nan]),
        prediction=12.5,
        probabilities=None,
    )
    return replace(made, **changes)


def read(log: PredictionLog, **options: Any) -> pd.DataFrame:
    return log.predictions("small", T0, T0 + 100 * HOUR, **options)


def test_first_prediction_of_a_champion_stays(telemetry: PredictionLog) -> None:
    assert telemetry.record([answer(telemetry)]) == set()
    again = answer(telemetry, version=2, prediction=99.0)
    assert telemetry.record([again, answer(telemetry, hour=1)]) == {again.event_id}
    assert read(telemetry)[["version", "prediction"]].values.tolist() == [[1, 12.5], [1, 12.5]]
    assert telemetry.champion_predictions([again.event_id])[again.event_id].prediction == 12.5


def test_shadow_predicts_an_event_once_and_ad_hoc_any_number(telemetry: PredictionLog) -> None:
    for version, prediction in ((1, 1.0), (2, 2.0), (1, 3.0)):
        telemetry.record([answer(telemetry, role="shadow", version=version, prediction=prediction)])
        telemetry.record([answer(telemetry, role="ad_hoc", version=version, due=None)])
    assert read(telemetry, roles=["shadow"])["prediction"].tolist() == [1.0, 2.0]
    assert len(read(telemetry, roles=["ad_hoc"])) == 3
    assert telemetry.predicted_ids([answer(telemetry).event_id]) == set()


def test_batch_is_written_completely_or_not_at_all(telemetry: PredictionLog) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        telemetry.record([answer(telemetry), answer(telemetry, hour=1, prediction=None)])
    assert read(telemetry).empty
    telemetry.record([answer(telemetry)])
    assert len(read(telemetry)) == 1


numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | numbers, min_size=1), st.lists(st.floats(), min_size=2, max_size=2), numbers)
def test_numbers_are_read_back_exactly(history: list[float | None], features: list[float], prediction: float) -> None:
    with PredictionLog(Path(os.environ["PYTEST_TELEMETRY"])) as log:
        hour = int.from_bytes(os.urandom(3), "big")
        given_answer = answer(
            log,
            hour=hour,
            inputs={"cnt": history},
            features=np.array(features),
            prediction=prediction,
            probabilities={"UP": prediction, "DOWN": 0.1},
        )
        log.record([given_answer])
        stored = log.champion_predictions([given_answer.event_id])[given_answer.event_id]
    bits = [None if value is None else struct.pack("<d", value) for value in history]
    assert [None if v is None else struct.pack("<d", v) for v in stored.inputs["cnt"]] == bits
    assert stored.features.tobytes() == np.array(features).tobytes()
    assert struct.pack("<d", float(stored.prediction)) == struct.pack("<d", prediction)
    assert stored.probabilities == {"UP": prediction, "DOWN": 0.1}


@pytest.fixture(autouse=True)
def one_file_for_the_property(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TELEMETRY", str(tmp_path / "property.sqlite"))


def test_predictions_are_ordered_by_event_time_with_named_features(telemetry: PredictionLog) -> None:
    features = telemetry.feature_set(["weather", "cnt__mean"], {"weather": ["clear", "rain"]})
    rows = [
        answer(telemetry, hour=2, entity="b", features=np.array([1.0, 4.0]), feature_set=features),
        answer(telemetry, hour=2, entity="a", features=np.array([np.nan, 4.0]), feature_set=features),
        answer(telemetry, hour=0, prediction="UP", probabilities={"UP": 0.75, "DOWN": 0.25}),
        answer(telemetry, hour=100),
    ]
    telemetry.record(rows)
    frame = read(telemetry)
    assert frame["entity"].tolist() == [None, "a", "b"]
    assert frame["features"].tolist()[1:] == [
        {"weather": None, "cnt__mean": 4.0},
        {"weather": "rain", "cnt__mean": 4.0},
    ]
    assert frame["event_time"].dtype == frame["due"].dtype == "datetime64[ns, UTC]"
    assert frame["event_time"].tolist() == [T0, T0 + 2 * HOUR, T0 + 2 * HOUR]
    assert frame["prediction"][0] == "UP"
    assert frame["probabilities"][0] == {"UP": 0.75, "DOWN": 0.25}
    assert frame["inputs"][1] == rows[1].inputs
    assert telemetry.predictions("other", T0, T0 + 100 * HOUR).empty


def test_empty_window_has_the_same_columns_and_types(telemetry: PredictionLog) -> None:
    empty = read(telemetry)
    telemetry.record([answer(telemetry)])
    full = read(telemetry)
    assert empty.empty
    assert list(empty.columns) == list(full.columns)
    assert empty["due"].dtype == full["due"].dtype


def test_predictions_of_all_versions_for_an_event_are_found(telemetry: PredictionLog) -> None:
    telemetry.record([answer(telemetry), answer(telemetry, role="shadow", version=7), answer(telemetry, hour=1)])
    found = telemetry.predictions_for_events([answer(telemetry).event_id])
    assert found[["role", "version"]].values.tolist() == [["champion", 1], ["shadow", 7]]


def test_many_ids_are_looked_up_at_once(telemetry: PredictionLog) -> None:
    rows = [answer(telemetry, hour=hour) for hour in range(1200)]
    telemetry.record(rows)
    ids = {row.event_id for row in rows}
    assert telemetry.predicted_ids([*ids, "unknown"]) == ids
    assert telemetry.predicted_ids([]) == set()


def test_events_without_a_shadow_prediction_are_found(telemetry: PredictionLog) -> None:
    rows = [answer(telemetry, hour=hour) for hour in range(4)]
    telemetry.record([*rows, answer(telemetry, hour=5, role="ad_hoc", due=None)])
    telemetry.record([replace(rows[2], role="shadow", version=7)])
    as_of = rows[1].due
    assert as_of is not None
    found = telemetry.unshadowed("small", 7, as_of, after=0, limit=10)
    assert [pending.champion.event_id for pending in found] == [rows[1].event_id, rows[3].event_id]
    assert telemetry.backlog("small", 7, as_of, after=0) == 2
    assert telemetry.backlog("small", 7, as_of, after=found[0].row) == 1
    assert telemetry.backlog("small", 8, as_of, after=0) == 3


def test_health_counts_requests_by_project_time(telemetry: PredictionLog) -> None:
    lines = [RequestLine(T0, T0 + hour * HOUR, 200, float(hour), "ad_hoc", 1) for hour in range(1, 101)]
    lines += [RequestLine(T0, T0 + HOUR, status, 1000.0, "ad_hoc", 1) for status in (422, 500)]
    lines += [RequestLine(T0, None, 500, 1.0, "ad_hoc", 1)]
    telemetry.record_requests(lines[:50], rss=2**20)
    telemetry.record_requests(lines[50:], rss=3 * 2**20)
    health = telemetry.health(T0, T0 + 101 * HOUR)
    assert (health.requests, health.errors, health.client_errors) == (102, 1, 1)
    assert health.p50_ms == pytest.approx(51.5, abs=1)
    assert health.memory_mb == 3.0
    assert telemetry.health(T0 + 200 * HOUR, T0 + 201 * HOUR).p50_ms is None
    assert len(telemetry.requests(T0 + 10 * HOUR, T0 + 12 * HOUR)) == 2
    assert telemetry.latest_project_time() == T0 + 100 * HOUR


def test_file_of_a_newer_version_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.sqlite"
    PredictionLog(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(Refused, match=f"schema {SCHEMA_VERSION + 1}"):
        PredictionLog(path)


def _write_and_be_killed(path: Path) -> None:
    log = PredictionLog(path)
    log.record([answer(log, role="ad_hoc", due=None)])
    log.record([answer(log, hour=1)])
    os.kill(os.getpid(), signal.SIGKILL)


def test_logged_predictions_survive_kill_9(tmp_path: Path) -> None:
    path = telemetry_path(tmp_path, "small")
    process = multiprocessing.get_context("fork").Process(target=_write_and_be_killed, args=(path,))
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    with PredictionLog(path) as log:
        assert read(log, roles=["ad_hoc", "champion"])["role"].tolist() == ["ad_hoc", "champion"]


def _open(path: Path) -> None:
    with PredictionLog(path) as log:
        log.record([answer(log, role="ad_hoc", due=None)])


def test_processes_can_create_the_log_at_the_same_time(tmp_path: Path) -> None:
    path = telemetry_path(tmp_path, "small")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_open, args=(path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    with PredictionLog(path) as log:
        assert len(read(log, roles=["ad_hoc"])) == 4


def test_reader_does_not_block_the_writer(telemetry: PredictionLog) -> None:
    telemetry.record([answer(telemetry)])
    reader = sqlite3.connect(telemetry.path)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM answers").fetchone() == (1,)
    telemetry.record([answer(telemetry, hour=1)])
    telemetry.checkpoint()
    assert reader.execute("SELECT count(*) FROM answers").fetchone() == (1,)
    reader.close()
    assert len(read(telemetry)) == 2


def test_only_champion_predictions_are_synced_to_disk(telemetry: PredictionLog) -> None:
    modes = [c.execute("PRAGMA synchronous").fetchone()[0] for c in (telemetry._synced, telemetry._unsynced)]
    assert modes == [2, 1]  # FULL, NORMAL
    used: list[str] = []
    telemetry._synced.set_trace_callback(lambda _: used.append("synced"))
    telemetry._unsynced.set_trace_callback(lambda _: used.append("unsynced"))
    rows = [answer(telemetry), answer(telemetry, role="ad_hoc", due=None)]
    used.clear()
    telemetry.record([rows[0]])
    assert set(used) == {"synced"}
    used.clear()
    telemetry.record([rows[1]])
    assert set(used) == {"unsynced"}
