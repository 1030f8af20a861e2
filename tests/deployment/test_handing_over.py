"""A version trained between two ticks: what was due before is its predecessor's to answer, and is not missed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tide import ASKED, States, at_sea, retrain, settle_but_retraining, succeeded

HOUR = timedelta(hours=1)


def test_what_was_due_before_the_snapshot_is_answered_by_the_version_that_served_then(
    states: States, tmp_path: Path
) -> None:
    with at_sea(states.copy("asked", tmp_path / "home")) as harness:
        desk = harness.desk
        desk.clock.move(ASKED + 3.5 * HOUR)
        settle_but_retraining(harness)
        succeeded(retrain(harness))
        assert desk.history().reigns[-1].version == 2
        desk.clock.move(ASKED + 6 * HOUR)
        settle_but_retraining(harness)
        assert not desk.history().missed
        answers = desk.telemetry.answers("tide", ASKED, ASKED + 13 * HOUR, roles=("champion",))
        since = answers[answers["due"] > ASKED]
        given = {(row["due"] - ASKED) // HOUR: row["version"] for row in since.to_dict("records")}
        assert given == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2}
