from __future__ import annotations

from datetime import timedelta

import pytest
from retraining_inputs import (
    AGE,
    PERFORMANCE,
    PSI,
    START,
    WEEK,
    Loop,
    after,
    decided,
    drifting,
    evidence,
    found,
    loop_state,
    losing,
    policy,
    week,
    window,
)

from mlops_assets.retraining.decide import decide, person_decision, request_id

BREACH = losing(40, 44, 50, 70)
TICK = timedelta(microseconds=1)


def guard(decision, name):
    return next(guard for guard in decision.guards if guard.name == name)


# Outcomes


def test_without_a_breach_the_decision_is_wait_and_names_the_closest_condition():
    decision = decided(policy(PERFORMANCE, AGE), losing(40, 44, 45, 46))
    assert (decision.outcome, decision.evidence, decision.in_progress) == ("WAIT", [], None)
    assert decision.reason == (
        "no trigger. Closest: loss of the last 2 windows 45.5, limit 54.6 "
        "(1.3 x loss of the model's first 2 live windows)."
    )


def test_new_deployment_period_waits_and_names_missing_windows():
    decision = decided(policy(PERFORMANCE), losing(40))
    assert decision.reason == "no trigger. No value yet: loss of the last 2 windows (1 of 2 first windows)."


def test_breach_with_all_guards_passed_is_retrain():
    decision = decided(policy(PERFORMANCE), BREACH)
    assert (decision.outcome, decision.by, decision.window, decision.stage) == (
        "RETRAIN",
        "policy",
        week(3),
        "labelled",
    )
    assert [item.identity for item in decision.evidence] == [f"1:performance:first_live_windows:{week(3)}"]
    assert decision.reason == (
        "loss of the last 2 windows (60) is 1.43 times the loss of the model's first 2 live windows (42), "
        "limit 1.3 times, since the window of 2011-04-23."
    )
    assert all(guard.passed for guard in decision.guards)


def test_all_with_one_member_in_breach_waits_and_names_the_missing_member():
    decision = decided(policy(PERFORMANCE, PSI, type="all"), BREACH)
    assert (decision.outcome, decision.evidence) == ("WAIT", [])
    assert decision.reason.startswith(
        "not all required triggers are active. Active trigger: loss of the last 2 windows"
    )
    assert decision.reason.endswith("Closest: prediction drift (psi) 0.05, limit 0.2.")


# Guards


def test_cooldown_holds_a_retraining_back_and_keeps_its_evidence():
    cooling = loop_state(cooldown_from=after(4) - timedelta(days=28) + TICK)
    decision = decided(policy(PERFORMANCE), BREACH, cooling)
    assert decision.outcome == "WAIT"
    assert decision.evidence == found(policy(PERFORMANCE), BREACH)
    assert "held back by the cooldown of 28d until 2011-04-30" in decision.reason
    assert not guard(decision, "cooldown").passed
    assert decided(policy(PERFORMANCE), BREACH, cooling, after(4) + TICK).outcome == "RETRAIN"


def test_warm_up_holds_a_retraining_back():
    spec = policy(PERFORMANCE, warm_up="28d")
    young_period = loop_state({"start": START + TICK})
    decision = decided(spec, BREACH, young_period)
    assert (decision.outcome, guard(decision, "warm_up").passed) == ("WAIT", False)
    assert "held back by the warm-up of 28d until 2011-04-30" in decision.reason
    assert decided(spec, BREACH, young_period, after(4) + TICK).outcome == "RETRAIN"


def test_budget_ignores_trainings_older_than_its_period():
    spec = policy(PERFORMANCE, budget={"runs": 2, "per": "28d"})
    decision = decided(spec, BREACH, loop_state(trainings=[after(1), START, START - WEEK]))
    assert decision.outcome == "RETRAIN"
    assert guard(decision, "budget").detail == "the budget of 2 trainings per 28d, 1 used"


def test_used_budget_names_when_it_ends():
    spec = policy(PERFORMANCE, budget={"runs": 2, "per": "28d"})
    spent = loop_state(trainings=[after(3), after(1), after(2)])
    decision = decided(spec, BREACH, spent)
    assert decision.outcome == "WAIT"
    assert "held back by the budget of 2 trainings per 28d until 2011-05-14" in decision.reason
    assert decided(spec, BREACH, spent, after(6) - TICK).outcome == "WAIT"
    assert decided(spec, BREACH, spent, after(6)).outcome == "RETRAIN"


def test_reason_names_all_guards_that_hold_back():
    held = loop_state({"start": after(3)}, cooldown_from=after(3))
    decision = decided(policy(PERFORMANCE, warm_up="14d"), BREACH, held)
    assert "held back by the cooldown of 28d until 2011-05-21 and by the warm-up of 14d until 2011-05-07" in (
        decision.reason
    )


def test_retraining_in_progress_is_named_before_other_guards():
    busy = loop_state(in_progress="0123456789abcdef", cooldown_from=after(3))
    decision = decided(policy(PERFORMANCE), BREACH, busy)
    assert (decision.outcome, decision.in_progress) == ("WAIT", "0123456789abcdef")
    assert decision.reason.startswith("retraining 0123456789abcdef is in progress. Active trigger: ")


def test_too_few_new_rows_are_collected_once_per_evidence():
    scarce = loop_state(new_rows=299)
    first = decided(policy(PERFORMANCE), BREACH, scarce)
    assert first.outcome == "COLLECT"
    assert first.reason.startswith(
        "only 299 new labelled rows since the champion's training, 300 required. Active trigger: "
    )
    again = decided(policy(PERFORMANCE), BREACH, loop_state(new_rows=299, collected=[first.id]))
    assert again.outcome == "WAIT"
    assert again.reason.startswith("data collection was requested: only 299 new labelled rows")
    assert again.evidence == first.evidence
    enough = decided(policy(PERFORMANCE), BREACH, loop_state(new_rows=300, collected=[first.id]))
    assert enough.outcome == "RETRAIN"


def test_new_evidence_collects_again():
    spec = policy(PERFORMANCE, PSI)
    first = decided(spec, BREACH, loop_state(new_rows=0))
    worse = [*BREACH, *(window(i, 70, prediction_drift={"psi": 0.3}) for i in (4, 5))]
    second = decided(spec, worse, loop_state(new_rows=0, collected=[first.id]))
    assert (second.outcome, second.id == first.id) == ("COLLECT", False)


def test_nothing_is_collected_while_a_guard_holds_back():
    assert decided(policy(PERFORMANCE), BREACH, loop_state(new_rows=0, cooldown_from=after(2))).outcome == "WAIT"


def test_every_decision_lists_all_guards():
    names = [guard.name for guard in decided(policy(PERFORMANCE), losing(40)).guards]
    assert names == ["in_progress", "held_back", "cooldown", "warm_up", "budget", "min_new_rows"]


# Ids


def test_retrain_of_the_same_evidence_has_the_same_id_at_a_later_window():
    first = decided(policy(PERFORMANCE), BREACH)
    later = decided(policy(PERFORMANCE), [*BREACH, window(4, 71)])
    assert (later.id, later.window) == (first.id, week(4))


def test_id_of_a_wait_depends_on_window_and_stage_only():
    spec, windows = policy(PERFORMANCE), losing(40, 41)
    assert decided(spec, windows).id == decided(spec, losing(50, 60)).id
    assert decided(spec, windows).id != decided(spec, losing(40, 41, 42)).id
    stages = [
        decide(spec, windows, loop_state(), after(2), window=week(1), stage=stage) for stage in ("ended", "labelled")
    ]
    assert stages[0].id != stages[1].id


def test_id_depends_on_outcome_deployment_period_and_project():
    spec = policy(PERFORMANCE)
    ids = {
        decided(spec, BREACH).id,
        decided(spec, BREACH, loop_state(new_rows=0)).id,
        decided(spec, BREACH, loop_state({"number": 2})).id,
        decided(spec, BREACH, loop_state(project="electricity")).id,
    }
    assert len(ids) == 4
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in ids)


# A person


def test_persons_request_is_a_retrain_with_all_active_evidence():
    decision = person_decision("bike_demand", 2, "anna 1", [evidence(deployment_period=2)], START)
    assert (decision.outcome, decision.by, decision.window, decision.stage) == ("RETRAIN", "person", None, None)
    assert decision.evidence == [evidence(deployment_period=2)]
    assert decision.reason == "requested by a person. Active trigger: it was worse."
    assert person_decision("bike_demand", 2, "anna 2", [], START).reason == "requested by a person. No active trigger."


def test_same_request_twice_gives_the_same_id():
    first = person_decision("bike_demand", 1, "anna 1", [evidence()], START)
    again = person_decision("bike_demand", 2, "anna 1", [], START + WEEK)
    assert first.id == again.id == request_id("bike_demand", "anna 1")
    assert first.id != request_id("bike_demand", "anna 2")
    assert first.id != request_id("electricity", "anna 1")


# Over a whole deployment period


def test_after_a_hold_only_new_windows_after_the_cooldown_retrain():
    decisions = Loop(policy(PERFORMANCE), lag=0).play(losing(40, 44, 50, 70, 70, 70, 70, 70, 70))
    assert [decision.outcome for decision in decisions] == ["WAIT"] * 3 + ["RETRAIN"] + ["WAIT"] * 3 + [
        "RETRAIN",
        "WAIT",
    ]
    assert decisions[7].evidence[0].window == week(5), "the first two windows after the training's as_of"


def test_after_a_hold_age_is_counted_from_that_training():
    decisions = Loop(policy({"type": "age", "max": "56d"}), lag=0).play(losing(*[40] * 20))
    assert [i for i, decision in enumerate(decisions) if decision.outcome == "RETRAIN"] == [7, 15]


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_retrain_is_decided_once_while_its_training_runs(lag):
    decisions = Loop(policy(PSI), lag=lag).play(drifting(0.1, 0.3, 0.3, 0.3, 0.3, 0.3))
    retrains = [decision for decision in decisions if decision.outcome == "RETRAIN"]
    assert len(retrains) == 1
    waiting = [decision for decision in decisions if decision.in_progress]
    assert [decision.in_progress for decision in waiting] == [retrains[0].id] * lag
