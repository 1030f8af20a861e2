"""A prediction that is gone from the log is reported as lost, wherever events are counted."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
from example_project import RETRAIN_AT, States, by_hand, running_harness, succeeded

from mlops_assets.cli.status import project_status
from mlops_assets.timeline import iso


def lose_one_prediction(log_file: Path, since: datetime) -> str:
    """Delete the first champion's prediction for an event since a moment from the log, and return the event's id."""
    with sqlite3.connect(log_file) as log:
        ((event,),) = log.execute(
            "SELECT event_id FROM answers WHERE role = 'champion' AND event_time >= ? ORDER BY event_time LIMIT 1",
            (int(since.timestamp() * 1_000_000),),
        ).fetchall()
        assert log.execute("DELETE FROM answers WHERE event_id = ?", (event,)).rowcount >= 1
    log.close()
    return str(event)


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Return the metadata of the last materialization of an asset in a run."""
    events = result.asset_materializations_for_node(f"example__{asset}")
    return {name: value.value for event in events for name, value in event.metadata.items()}


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}


def test_lost_prediction_shows_in_predictions_health_and_status(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home")) as harness:
        context = harness.context
        window = context.timeline.ended_windows(RETRAIN_AT)[-2]
        before = project_status(context)["events"]
        assert (before["lost"], before["due"]) == (0, before["answered"] + before["missed"])

        event = lose_one_prediction(context.prediction_log.path, window.start)
        for _ in range(2):  # a second run does not take the event for one whose row was absent
            result = succeeded(by_hand(harness, "predictions", "service_health", partition_key=context.key(window)))
            predictions, health = metadata_of(result, "predictions"), metadata_of(result, "service_health")
            assert (predictions["due"], predictions["answered"], predictions["missed"]) == (24, 23, 0)
            assert predictions["lost event ids"] == event
            assert health["lost events"] == 1
            assert checks_of(result)["complete"] is False
            assert checks_of(result)["available"] is False
            events = project_status(context)["events"]
            assert events | {"lost": 0, "answered": before["answered"]} == before
            assert (events["lost"], events["answered"]) == (1, before["answered"] - 1)
        assert event not in context.ledger_view().missed, f"lost in window {iso(window.start)}"
