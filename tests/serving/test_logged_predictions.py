"""Predictions of the scoring service: the first one for an event stays, and each is logged before it is sent."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import Version, Versions
from scoring_services import EVER, HOUR, Start, due_of, later, recorded, score, serving

from mlops_assets.prediction.inputs import from_records
from mlops_assets.prediction.predictor import Predictions, Predictor
from mlops_assets.timeline import iso


def test_first_prediction_of_an_event_stays_after_a_switch(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    first = score(client, version, version.records[:2]).json()["predictions"]
    client.admin("load", version=2, folder=str(rentals[2].folder))
    client.admin("switch", version=2)
    again = score(client, version, version.records[:3]).json()["predictions"]
    assert [row["stored"] for row in first] == [False, False]
    assert again[:2] == [{**row, "stored": True} for row in first]
    assert (again[2]["model_version"], again[2]["stored"]) == (2, False)
    assert recorded(client, "champion")["version"].tolist() == [1, 1, 2]


def test_stored_prediction_is_returned_by_a_version_that_may_not_predict(
    rentals: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    client, version = start(rentals[1]), rentals[1]
    first = score(client, version, version.records[:2]).json()["predictions"]
    client.admin("load", version=2, folder=str(later(rentals[2], due_of(version, version.records[:4])[3], tmp_path)))
    client.admin("switch", version=2)
    again = score(client, version, version.records[:2])
    assert again.json()["predictions"] == [{**row, "stored": True} for row in first]
    assert score(client, version, version.records[:3]).status_code == 409


def test_row_without_finite_prediction_is_an_error(
    rentals: dict[int, Version], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, honest = start(rentals[1]), Predictor.predict

    def overflowing(self: Predictor, inputs: Any) -> Predictions:
        right = honest(self, inputs)
        values = np.where(np.arange(len(inputs)) == 1, np.inf, right.value.astype(np.float64))
        return Predictions(values, right.probabilities, right.features, right.known_entity)

    monkeypatch.setattr(Predictor, "predict", overflowing)
    response = client.ask(rentals[1].records[:3])
    assert (response.status_code, response.json()["error"]["row"]) == (422, 1)
    assert score(client, rentals[1], rentals[1].records[:3]).status_code == 422
    assert recorded(client, "ad_hoc", "champion").empty


def test_client_requests_are_logged_as_ad_hoc(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    client.ask(version.records[:1])
    client.ask(version.records[:1], headers=client.scorer)  # without due times a request with the token is ad_hoc too
    assert recorded(client, "champion").empty
    assert recorded(client, "ad_hoc")["due"].isna().all()
    assert score(client, version, version.records[:1]).json()["predictions"][0]["stored"] is False


def test_version_does_not_predict_events_due_before_its_snapshot(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    good = version.records[0]
    early = {**good, "event_time": iso(version.as_of + 24 * HOUR - HOUR)}
    on_time = {**good, "event_time": iso(version.as_of + 24 * HOUR)}
    refused = score(client, version, [on_time, early])
    error = refused.json()["error"]
    assert (refused.status_code, error["field"], error["row"]) == (409, "due", 1)
    assert iso(version.as_of) in error["message"]
    assert iso(version.as_of - HOUR) in error["message"]
    assert recorded(client, "champion").empty
    assert score(client, version, [on_time]).status_code == 200


def test_wrong_due_time_is_an_error(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    due = iso(due_of(version, version.records[:1])[0] + HOUR)
    body = {"inputs": version.records[:1], "due": [due], "now": [due]}
    response = client.post("/invocations", json=body, headers=client.scorer)
    assert (response.status_code, response.json()["error"]["field"]) == (422, "due")


def test_same_event_twice_in_a_request_is_an_error(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    response = score(client, version, [version.records[0], version.records[1], version.records[0]])
    assert (response.status_code, response.json()["error"]["row"]) == (422, 2)
    assert recorded(client, "champion").empty


@pytest.mark.parametrize(
    "extra",
    [
        {"due": ["2011-02-05T00:00:00Z"]},
        {"due": ["2011-02-05T00:00:00Z"], "now": "2011-02-05T00:00:00Z"},
        {"due": [], "now": []},
        {"due": ["2011-02-05T00:00:00"], "now": ["2011-02-05T00:00:00Z"]},
        {"due": [5], "now": ["2011-02-05T00:00:00Z"]},
        {"due": ["0001-01-01T00:00:00+14:00"], "now": ["2011-02-05T00:00:00Z"]},
    ],
)
def test_times_of_the_scorer_are_checked(rentals: dict[int, Version], start: Start, extra: dict[str, Any]) -> None:
    client = start(rentals[1])
    response = client.post("/invocations", json={"inputs": rentals[1].records[:1], **extra}, headers=client.scorer)
    assert response.status_code in (400, 422)
    assert response.json()["error"]["field"] in ("due", "now")


def test_prediction_after_the_deadline_is_late(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    score(client, version, version.records[:1], late_by=HOUR)  # by serving.every: exactly at the deadline
    score(client, version, version.records[1:2], late_by=HOUR + timedelta(seconds=1))
    assert recorded(client, "champion")["late"].tolist() == [False, True]


@pytest.mark.parametrize("kind", ["rentals", "prices"])
def test_logged_predictions_equal_a_recomputation_exactly(versions: Versions, start: Start, kind: str) -> None:
    version = versions[kind][1]
    client = start(version)
    returned = score(client, version, version.records[:40]).json()["predictions"]
    log = recorded(client, "champion")
    predictor = Predictor.load(version.folder)
    again = predictor.predict(from_records(list(log["inputs"]), version.schema))
    assert log["prediction"].tolist() == list(again.value) == [row["prediction"] for row in returned]
    features = log["features"].tolist()
    for column, name in enumerate(predictor.definitions.names):
        if name in predictor.definitions.levels:
            continue
        values = np.array([row[name] for row in features])
        assert values.tobytes() == np.ascontiguousarray(again.features[:, column]).tobytes()
    if again.probabilities is not None:
        assert [row["UP"] for row in log["probabilities"]] == list(again.probabilities["UP"])
    predictor.close()


def test_prediction_that_cannot_be_logged_is_not_sent(
    rentals: dict[int, Version], start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, version = start(rentals[1]), rentals[1]

    def full(answers: Any) -> set[str]:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(client.service.telemetry, "record", full)
        for response in (score(client, version, version.records[:1]), client.ask(version.records[:1])):
            assert response.status_code == 500
            assert "prediction" not in response.text
            assert response.json()["error"]["message"].split()[-1] in {
                getattr(r, "request_id", None) for r in caplog.records
            }
    assert score(client, version, version.records[:1]).json()["predictions"][0]["stored"] is False


def test_requests_are_logged_with_the_project_time(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    score(client, version, version.records[:2])
    client.ask(version.records[:1])
    client.ask([])
    client.admin("drain")
    log = client.service.telemetry.requests(*EVER)
    assert log[["status", "role", "rows"]].values.tolist() == [
        [200, "champion", 2],
        [200, "ad_hoc", 1],
        [400, "ad_hoc", 0],
    ]
    assert set(log["now"]) == {due_of(version, version.records[:2])[1]}
    assert (log["latency_ms"] > 0).all()
    assert (log["rss"] > 2**20).all()


def test_replay_time_is_restored_after_restart(rentals: dict[int, Version], tmp_path: Path) -> None:
    version = rentals[1]
    with serving(version, tmp_path) as client:
        score(client, version, version.records[:2])
    with serving(version, tmp_path) as client:
        assert client.get("/status").json()["now"] == iso(due_of(version, version.records[:2])[1])
