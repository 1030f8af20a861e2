"""A YAML that changes while a version serves: the version keeps its inputs, and can be replaced."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from example_project import (
    ATTRIBUTES,
    MISSING_WIND_AT,
    RETRAIN_AT,
    States,
    retrain,
    run_until_only_retraining_is_left,
    running_harness,
    succeeded,
)

from mlops_assets.timeline import event_id

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DATA, FEATURES = ATTRIBUTES["data"], ATTRIBUTES["features"]
COLUMNS = DATA["columns"]

NULLABLE = {"dtype": "float", "nullable": True}
WITH_THE_MOON: dict[str, Any] = {
    "data": {"options": {"pressure": True}, "columns": {**COLUMNS, "pressure": NULLABLE, "wind": NULLABLE}},
    "features": {"known": ["hour", "wind", "pressure"], "history": {"columns": ["level"], "length": "48h"}},
}
WITHOUT_WIND: dict[str, Any] = {
    "data": {"options": {"without_wind": True}, "columns": {name: COLUMNS[name] for name in ("hour", "level")}},
    "features": {"known": ["hour"]},
}


def test_champion_keeps_its_inputs_until_successor_is_promoted(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home"), **WITH_THE_MOON) as harness:
        context = harness.context
        context.clock.move(RETRAIN_AT + DAY)
        run_until_only_retraining_is_left(harness)
        succeeded(retrain(harness))
        verdict = context.ledger_view().verdicts[-1]
        assert (verdict.verdict, verdict.champion) == ("PROMOTE", 1)
        # the inputs with more past values are cut from published data, for both sides
        assert verdict.recomputed == verdict.rows > 24
        context.clock.move(RETRAIN_AT + 2 * DAY)
        run_until_only_retraining_is_left(harness)
        # the only row that the first version's inputs did not allow, though its YAML does now
        ((event, missed),) = context.ledger_view().missed.items()
        assert (event, "wind" in missed.reason) == (event_id("example", None, MISSING_WIND_AT), True)
        answers = context.telemetry.predictions(
            "example", RETRAIN_AT, RETRAIN_AT + 2 * DAY, roles=("champion",)
        ).to_dict("records")
        inputs = {(row["version"], "pressure" in row["inputs"], len(row["inputs"]["level"])) for row in answers}
        assert inputs == {(1, False, 24), (2, True, 48)}
        windows = [context.timeline.window_at(RETRAIN_AT + n * DAY).id for n in range(2)]
        assert [context.ledger_view().missing_reports(window, "labelled") for window in windows] == [[], []]


def test_champion_with_undeclared_inputs_misses_events_and_can_be_replaced(states: States, tmp_path: Path) -> None:
    with running_harness(states.copy("retrain_decided", tmp_path / "home"), **WITHOUT_WIND) as harness:
        context = harness.context
        context.clock.move(RETRAIN_AT + 12 * HOUR)
        run_until_only_retraining_is_left(harness)
        reasons = {fact.reason for fact in context.ledger_view().missed.values()}
        assert reasons == {"its row is invalid: version 1 needs wind, which defs.yaml no longer declares in that way"}
        lost = len(context.ledger_view().missed)
        succeeded(retrain(harness))
        verdict = context.ledger_view().verdicts[-1]
        # the candidate can be compared with the baseline only
        assert (verdict.champion, verdict.champion_loss) == (1, None)
        assert any("version 1 takes wind, which defs.yaml no longer declares" in reason for reason in verdict.reasons)
        assert "baseline" in verdict.reasons[0]
        assert lost > 0
