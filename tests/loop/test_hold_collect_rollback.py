"""A break at window 2 while retrainings are held; after the release there are too few rows; then a rollback."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import simulated_projects
from project_replays import ProjectReplay, resumed_replay

from mlops_assets.ledger.facts import Collected, RetrainingHeld
from mlops_assets.ledger.view import LedgerView

BREAK, RELEASED, RETRAINED, ROLLED_BACK, WINDOWS = 2, 4, 6, 8, 11
pytestmark = [pytest.mark.xdist_group("seeded"), pytest.mark.timeout(900)]


class HeldReplay:
    """The replay, and the ledger view after each of its steps."""

    def __init__(self, play: ProjectReplay) -> None:
        self.play = play
        self.retrained: LedgerView
        self.after: LedgerView
        self.served: int | None
        self.calls: list[str] = []

    def failing(self, number: int) -> list[str]:
        """Return the guards that hold the decision of a window."""
        return [guard.name for guard in self.play.decision(number).guards if not guard.passed]


@pytest.fixture(scope="module")
def held(trained: Path) -> Iterator[HeldReplay]:
    spec = simulated_projects.simulated_project(
        "seeded",
        {"break_at": simulated_projects.at(BREAK).isoformat()},
        data={"collect": "simulated_projects.collect"},
        retraining={
            "when": {"type": "performance", "ratio": 1.5, "first": 2, "last": 1},
            "min_new_rows": 24 * (RETRAINED + 1),
            "warm_up": "2d",
        },
    )
    with resumed_replay(spec, trained, trained.with_name("held")) as play:
        found = HeldReplay(play)
        ledger = play.context.ledger
        ledger.append("seeded", RetrainingHeld(at=play.context.now(), held=True, number=0))
        play.advance(windows=RELEASED)
        ledger.append("seeded", RetrainingHeld(at=play.context.now(), held=False, number=1))
        play.advance(windows=ROLLED_BACK - RELEASED)
        found.calls = [decision["id"] for project, decision in simulated_projects.COLLECTED if project == "seeded"]
        found.retrained = play.view
        play.run("rollback")
        found.served = play.context.endpoint.serving()
        play.advance(windows=WINDOWS - ROLLED_BACK)
        found.after = play.view
        yield found


# Retrainings are held


def test_decisions_name_the_triggers_that_are_being_held(held: HeldReplay) -> None:
    for number in range(BREAK, RELEASED):
        decision = held.play.decision(number)
        assert decision.outcome == "WAIT"
        assert decision.evidence[0].window == held.play.window(BREAK).id
        assert "held back by a person (mlops-assets hold)" in decision.reason
        assert "held_back" in held.failing(number)


def test_served_equals_shadow_while_retraining_is_held(held: HeldReplay) -> None:
    for number in range(RETRAINED + 1):
        found = held.play.performance(number)
        assert found.served == found.shadow == found.deployment_period
        assert found.rows == (23 if number == 0 else 24)
    assert held.play.performance(RELEASED - 1).served > 5 * held.play.performance(0).served


# COLLECT


def test_active_trigger_with_too_few_new_rows_leads_to_collect(held: HeldReplay) -> None:
    decision = held.play.decision(RELEASED)
    assert decision.outcome == "COLLECT"
    assert held.failing(RELEASED) == ["min_new_rows"]
    assert "only 120 new labelled rows" in decision.reason


def test_collect_hook_is_called_once_per_trigger(held: HeldReplay) -> None:
    decision = held.play.decision(RELEASED)
    assert held.calls == [decision.id]
    (fact,) = held.retrained.of(Collected)
    assert fact.detail == f"requested rows because of {decision.id}"
    assert held.play.launched("collect") == 1


def test_decision_is_wait_while_rows_are_collected(held: HeldReplay) -> None:
    decision = held.play.decision(RELEASED + 1)
    assert decision.outcome == "WAIT"
    assert "data collection was requested: only 144 new labelled rows" in decision.reason


def test_same_trigger_leads_to_retrain_once_enough_rows_arrived(held: HeldReplay) -> None:
    decision = held.play.decision(RETRAINED)
    assert decision.outcome == "RETRAIN"
    assert decision.evidence[0].identity == held.play.decision(RELEASED).evidence[0].identity
    assert [(v.verdict, v.by) for v in held.retrained.verdicts] == [("PROMOTE", "bootstrap"), ("PROMOTE", "policy")]


# Rollback


def test_rollback_begins_a_deployment_period_of_the_former_version(held: HeldReplay) -> None:
    periods = [(period.number, period.version, period.cause, period.start) for period in held.after.deployment_periods]
    assert periods == [
        (1, 1, "bootstrap", simulated_projects.at(0)),
        (2, 2, "retraining", simulated_projects.at(RETRAINED + 1)),
        (3, 1, "rollback", simulated_projects.at(ROLLED_BACK)),
    ]
    assert held.served == 1


def test_rollback_starts_cooldown_and_warm_up(held: HeldReplay) -> None:
    assert held.after.cooldown_from == simulated_projects.at(ROLLED_BACK)
    assert held.failing(ROLLED_BACK) == ["cooldown", "warm_up"]
    assert held.failing(ROLLED_BACK + 1) == held.failing(ROLLED_BACK + 2) == ["cooldown"]


def test_policy_does_not_retrain_right_after_a_rollback(held: HeldReplay) -> None:
    for number in range(ROLLED_BACK, WINDOWS):
        assert held.play.decision(number).outcome == "WAIT"
    assert held.play.launched("retrain") == 1


def test_rollback_ends_the_evidence_of_earlier_deployment_periods(held: HeldReplay) -> None:
    evidence = held.play.decision(ROLLED_BACK).evidence
    assert [item.identity for item in evidence] == [
        f"3:performance:first_live_windows:{held.play.window(ROLLED_BACK).id}"
    ]


def test_reference_after_a_rollback_is_from_the_first_deployment_period(held: HeldReplay) -> None:
    first = [held.play.loss(number, "deployment_period") for number in (0, 1)]
    evidence = held.play.decision(ROLLED_BACK).evidence[0]
    assert evidence.threshold == pytest.approx(1.5 * sum(first) / 2)


def test_predictions_after_a_rollback_come_from_the_former_version(held: HeldReplay) -> None:
    answers = held.play.context.telemetry.predictions(
        "seeded", simulated_projects.at(0), simulated_projects.at(WINDOWS)
    )
    by_due = answers.groupby("version")["due"].agg(["min", "max"])
    assert by_due.loc[1, "max"] == simulated_projects.at(WINDOWS) - 2 * simulated_projects.HOUR
    between = answers[
        (answers["due"] > simulated_projects.at(RETRAINED + 1)) & (answers["due"] < simulated_projects.at(ROLLED_BACK))
    ]
    assert set(between["version"]) == {2}
