"""A version trained between two ticks: what was due before is its predecessor's to answer, and is not missed."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

from example_project import RETRAIN_AT, States, retrain, run_until_only_retraining_is_left, running_harness, succeeded
from harness import Harness

from mlops_assets.resources.project import ProjectResources

HOUR = timedelta(hours=1)


def between_two_ticks(harness: Harness) -> ProjectResources:
    """Three answers fell due since the last tick, and are not asked for before the next."""
    harness.context.clock.move(RETRAIN_AT + 3.5 * HOUR)
    run_until_only_retraining_is_left(harness)
    return harness.context


def test_what_was_due_before_the_snapshot_is_answered_by_the_version_that_served_then(
    states: States, tmp_path: Path
) -> None:
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


def test_a_champion_that_cannot_answer_keeps_nobody_from_its_place_and_a_warning_says_what_is_lost(
    states: States, tmp_path: Path
) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home")) as harness:
        context = between_two_ticks(harness)
        context.endpoint.stop()
        run = succeeded(retrain(harness)).run_id
        assert context.ledger_view().deployment_periods[-1].version == 2
        warned = [line.user_message for line in harness.instance.all_logs(run) if line.level == logging.WARNING]
        assert any("stays without an answer" in text for text in warned)
        context.clock.move(RETRAIN_AT + 6 * HOUR)
        run_until_only_retraining_is_left(harness)
        lost = {(fact.due - RETRAIN_AT) // HOUR for fact in context.ledger_view().missed.values()}
        assert lost == {1, 2, 3}
