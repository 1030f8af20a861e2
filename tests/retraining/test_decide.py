from __future__ import annotations

from datetime import timedelta

import pytest
from deployment_history import (
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
    history,
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


def test_without_a_breach_the_decision_is_wait_and_names_the_nearest_signal():
    decision = decided(policy(PERFORMANCE, AGE), losing(40, 44, 45, 46))
    assert (decision.outcome, decision.evidence, decision.in_progress) == ("WAIT", [], None)
    assert decision.reason == (
        "no trigger. Closest: loss of the last 2 windows 45.5, limit 54.6 "
        "(1.3 x loss of the model's first 2 live windows)."
    )


def test_a_new_reign_waits_and_says_what_it_lacks():
    decision = decided(policy(PERFORMANCE), losing(40))
    assert decision.reason == "no trigger. No value yet: loss of the last 2 windows (1 of 2 first windows)."


def test_a_breach_that_no_guard_holds_back_is_retrain():
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


def test_all_with_one_member_in_breach_waits_and_names_the_one_that_is_missing():
    decision = decided(policy(PERFORMANCE, PSI, type="all"), BREACH)
    assert (decision.outcome, decision.evidence) == ("WAIT", [])
    assert decision.reason.startswith(
        "not all required triggers are active. Active trigger: loss of the last 2 windows"
    )
    assert decision.reason.endswith("Closest: prediction drift (psi) 0.05, limit 0.2.")


# Guards


def test_the_cooldown_holds_evidence_back_until_its_last_moment_and_keeps_it():
    cooling = history(cooldown_from=after(4) - timedelta(days=28) + TICK)
    decision = decided(policy(PERFORMANCE), BREACH, cooling)
    assert decision.outcome == "WAIT"
    assert decision.evidence == found(policy(PERFORMANCE), BREACH)
    assert "held back by the cooldown of 28d until 2011-04-30" in decision.reason
    assert not guard(decision, "cooldown").passed
    assert decided(policy(PERFORMANCE), BREACH, cooling, after(4) + TICK).outcome == "RETRAIN"


def test_the_warm_up_leaves_a_new_reign_alone():
    spec = policy(PERFORMANCE, warm_up="28d")
    younger = history({"start": START + TICK})
    decision = decided(spec, BREACH, younger)
    assert (decision.outcome, guard(decision, "warm_up").passed) == ("WAIT", False)
    assert "held back by the warm-up of 28d until 2011-04-30" in decision.reason
    assert decided(spec, BREACH, younger, after(4) + TICK).outcome == "RETRAIN"


def test_trainings_older_than_the_budgets_period_are_not_counted():
    spec = policy(PERFORMANCE, budget={"runs": 2, "per": "28d"})
    decision = decided(spec, BREACH, history(trainings=[after(1), START, START - WEEK]))
    assert decision.outcome == "RETRAIN"
    assert guard(decision, "budget").detail == "the budget of 2 trainings per 28d, 1 used"


def test_the_budget_says_until_when_it_is_spent():
    spec = policy(PERFORMANCE, budget={"runs": 2, "per": "28d"})
    spent = history(trainings=[after(3), after(1), after(2)])
    decision = decided(spec, BREACH, spent)
    assert decision.outcome == "WAIT"
    assert "held back by the budget of 2 trainings per 28d until 2011-05-14" in decision.reason
    assert decided(spec, BREACH, spent, after(6) - TICK).outcome == "WAIT"
    assert decided(spec, BREACH, spent, after(6)).outcome == "RETRAIN"


def test_all_guards_that_hold_evidence_back_are_named():
    held = history({"start": after(3)}, cooldown_from=after(3))
    decision = decided(policy(PERFORMANCE, warm_up="14d"), BREACH, held)
    assert "held back by the cooldown of 28d until 2011-05-21 and by the warm-up of 14d until 2011-05-07" in (
        decision.reason
    )


def test_a_retraining_in_progress_is_waited_for_by_its_id_even_when_other_guards_hold():
    busy = history(in_progress="0123456789abcdef", cooldown_from=after(3))
    decision = decided(policy(PERFORMANCE), BREACH, busy)
    assert (decision.outcome, decision.in_progress) == ("WAIT", "0123456789abcdef")
    assert decision.reason.startswith("retraining 0123456789abcdef is in progress. Active trigger: ")


def test_too_few_new_rows_are_collected_once_per_evidence():
    scarce = history(new_rows=299)
    first = decided(policy(PERFORMANCE), BREACH, scarce)
    assert first.outcome == "COLLECT"
    assert first.reason.startswith(
        "only 299 new labelled rows since the champion's training, 300 required. Active trigger: "
    )
    again = decided(policy(PERFORMANCE), BREACH, history(new_rows=299, collected=[first.id]))
    assert again.outcome == "WAIT"
    assert again.reason.startswith("data collection was requested: only 299 new labelled rows")
    assert again.evidence == first.evidence
    enough = decided(policy(PERFORMANCE), BREACH, history(new_rows=300, collected=[first.id]))
    assert enough.outcome == "RETRAIN"


def test_new_evidence_may_ask_for_data_again():
    spec = policy(PERFORMANCE, PSI)
    first = decided(spec, BREACH, history(new_rows=0))
    worse = [*BREACH, *(window(i, 70, prediction_drift={"psi": 0.3}) for i in (4, 5))]
    second = decided(spec, worse, history(new_rows=0, collected=[first.id]))
    assert (second.outcome, second.id == first.id) == ("COLLECT", False)


def test_nothing_is_collected_while_a_guard_holds_the_evidence_back():
    assert decided(policy(PERFORMANCE), BREACH, history(new_rows=0, cooldown_from=after(2))).outcome == "WAIT"


def test_every_decision_shows_all_guards():
    names = [guard.name for guard in decided(policy(PERFORMANCE), losing(40)).guards]
    assert names == ["in_progress", "held_back", "cooldown", "warm_up", "budget", "min_new_rows"]


# Ids


def test_a_retrain_keeps_its_id_when_it_is_found_again_at_a_later_window():
    first = decided(policy(PERFORMANCE), BREACH)
    later = decided(policy(PERFORMANCE), [*BREACH, window(4, 71)])
    assert (later.id, later.window) == (first.id, week(4))


def test_a_wait_is_told_apart_by_window_and_stage_only():
    spec, windows = policy(PERFORMANCE), losing(40, 41)
    assert decided(spec, windows).id == decided(spec, losing(50, 60)).id
    assert decided(spec, windows).id != decided(spec, losing(40, 41, 42)).id
    stages = [
        decide(spec, windows, history(), after(2), window=week(1), stage=stage) for stage in ("ended", "labelled")
    ]
    assert stages[0].id != stages[1].id


def test_outcome_reign_and_project_are_part_of_the_id():
    spec = policy(PERFORMANCE)
    ids = {
        decided(spec, BREACH).id,
        decided(spec, BREACH, history(new_rows=0)).id,
        decided(spec, BREACH, history({"number": 2})).id,
        decided(spec, BREACH, history(project="electricity")).id,
    }
    assert len(ids) == 4
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in ids)


# A person


def test_a_persons_request_is_a_retrain_with_all_standing_evidence():
    decision = person_decision("bike_demand", 2, "anna 1", [evidence(deployment_period=2)], START)
    assert (decision.outcome, decision.by, decision.window, decision.stage) == ("RETRAIN", "person", None, None)
    assert decision.evidence == [evidence(deployment_period=2)]
    assert decision.reason == "a person asked for it. Active trigger: it was worse."
    assert person_decision("bike_demand", 2, "anna 2", [], START).reason == "a person asked for it. No active trigger."


def test_the_same_request_twice_is_one_decision_whatever_the_evidence():
    first = person_decision("bike_demand", 1, "anna 1", [evidence()], START)
    again = person_decision("bike_demand", 2, "anna 1", [], START + WEEK)
    assert first.id == again.id == request_id("bike_demand", "anna 1")
    assert first.id != request_id("bike_demand", "anna 2")
    assert first.id != request_id("electricity", "anna 1")


# Over a whole deployment period


def test_a_hold_is_not_asked_again_until_the_cooldown_is_over_and_new_windows_are_in_breach():
    decisions = Loop(policy(PERFORMANCE), lag=0).play(losing(40, 44, 50, 70, 70, 70, 70, 70, 70))
    assert [decision.outcome for decision in decisions] == ["WAIT"] * 3 + ["RETRAIN"] + ["WAIT"] * 3 + [
        "RETRAIN",
        "WAIT",
    ]
    assert decisions[7].evidence[0].window == week(5), "the first two windows after the training's as_of"


def test_an_age_that_was_held_is_asked_again_after_its_whole_length_not_after_the_cooldown():
    decisions = Loop(policy({"type": "age", "max": "56d"}), lag=0).play(losing(*[40] * 20))
    assert [i for i, decision in enumerate(decisions) if decision.outcome == "RETRAIN"] == [7, 15]


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_a_retrain_is_recorded_once_however_long_its_training_takes(lag):
    decisions = Loop(policy(PSI), lag=lag).play(drifting(0.1, 0.3, 0.3, 0.3, 0.3, 0.3))
    retrains = [decision for decision in decisions if decision.outcome == "RETRAIN"]
    assert len(retrains) == 1
    waiting = [decision for decision in decisions if decision.in_progress]
    assert [decision.in_progress for decision in waiting] == [retrains[0].id] * lag
