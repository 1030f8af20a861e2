"""A version trained between two ticks: what was due before is its predecessor's to answer, and is not missed."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

from harness import Harness
from tide import ASKED, States, at_sea, retrain, settle_but_retraining, succeeded

from resources.platform import Desk

HOUR = timedelta(hours=1)


def between_two_ticks(harness: Harness) -> Desk:
    """Three answers fell due since the last tick, and are not asked for before the next."""
    harness.desk.clock.move(ASKED + 3.5 * HOUR)
    settle_but_retraining(harness)
    return harness.desk


def test_what_was_due_before_the_snapshot_is_answered_by_the_version_that_served_then(
    states: States, tmp_path: Path
) -> None:
    with at_sea(states.copy("asked", tmp_path / "home")) as harness:
        desk = between_two_ticks(harness)
        succeeded(retrain(harness))
        assert desk.history().reigns[-1].version == 2
        desk.clock.move(ASKED + 6 * HOUR)
        settle_but_retraining(harness)
        assert not desk.history().missed
        answers = desk.telemetry.answers("tide", ASKED, ASKED + 13 * HOUR, roles=("champion",))
        since = answers[answers["due"] > ASKED]
        given = {(row["due"] - ASKED) // HOUR: row["version"] for row in since.to_dict("records")}
        assert given == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2}


def test_a_champion_that_cannot_answer_keeps_nobody_from_its_place_and_a_warning_says_what_is_lost(
    states: States, tmp_path: Path
) -> None:
    with at_sea(states.copy("asked", tmp_path / "home")) as harness:
        desk = between_two_ticks(harness)
        desk.endpoint.stop()
        run = succeeded(retrain(harness)).run_id
        assert desk.history().reigns[-1].version == 2
        warned = [line.user_message for line in harness.instance.all_logs(run) if line.level == logging.WARNING]
        assert any("stays without an answer" in text for text in warned)
        desk.clock.move(ASKED + 6 * HOUR)
        settle_but_retraining(harness)
        lost = {(fact.due - ASKED) // HOUR for fact in desk.history().missed.values()}
        assert lost == {1, 2, 3}
