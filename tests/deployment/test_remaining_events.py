"""A version trained between two ticks: events due before are predicted by its predecessor, and are not missed."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

from example_project import RETRAIN_AT, States, retrain, run_until_only_retraining_is_left, running_harness, succeeded
from harness import Harness

from mlops_assets.resources.project import ProjectResources

HOUR = timedelta(hours=1)


def between_two_ticks(harness: Harness) -> ProjectResources:
    """Three predictions became due since the last tick, and are requested at the next one only."""
    harness.context.clock.move(RETRAIN_AT + 3.5 * HOUR)
    run_until_only_retraining_is_left(harness)
    return harness.context


def test_events_due_before_snapshot_are_predicted_by_previous_champion(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home")) as harness:
        context = between_two_ticks(harness)
        succeeded(retrain(harness))
        assert context.ledger_view().deployment_periods[-1].version == 2
        context.clock.move(RETRAIN_AT + 6 * HOUR)
        run_until_only_retraining_is_left(harness)
        assert not context.ledger_view().missed
        answers = context.telemetry.predictions("example", RETRAIN_AT, RETRAIN_AT + 13 * HOUR, roles=("champion",))
        since = answers[answers["due"] > RETRAIN_AT]
        given = {(row["due"] - RETRAIN_AT) // HOUR: row["version"] for row in since.to_dict("records")}
        assert given == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2}


def test_failing_champion_does_not_prevent_promotion(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home")) as harness:
        context = between_two_ticks(harness)
        context.endpoint.stop()
        run = succeeded(retrain(harness)).run_id
        assert context.ledger_view().deployment_periods[-1].version == 2
        warned = [line.user_message for line in harness.instance.all_logs(run) if line.level == logging.WARNING]
        assert any("have no prediction" in text for text in warned)
        context.clock.move(RETRAIN_AT + 6 * HOUR)
        run_until_only_retraining_is_left(harness)
        lost = {(fact.due - RETRAIN_AT) // HOUR for fact in context.ledger_view().missed.values()}
        assert lost == {1, 2, 3}
