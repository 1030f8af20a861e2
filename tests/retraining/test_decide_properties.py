"""Properties of decisions over generated policies and deployment periods, played window by window."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from retraining_inputs import (
    PERFORMANCE,
    PSI,
    START,
    WEEK,
    Loop,
    after,
    decided,
    found,
    loop_state,
    losing,
    policy,
    week,
    window,
)

from mlops_assets.ledger.facts import Decision, Evidence
from mlops_assets.retraining.decide import decide, decision_id
from mlops_assets.retraining.evidence import LoopState, find_evidence
from mlops_assets.spec.policies import leaves

SOME = settings(max_examples=100, deadline=None)
WEEKS = st.integers(1, 8).map(lambda weeks: f"{7 * weeks}d")

performances = st.fixed_dictionaries(
    {
        "type": st.just("performance"),
        "ratio": st.sampled_from([1.05, 1.3, 2.0]),
        "against": st.sampled_from(["first_live_windows", "holdout"]),
        "first": st.integers(1, 3),
        "last": st.integers(1, 3),
    }
)
differences = st.fixed_dictionaries(
    {"type": st.just("performance"), "worse_by": st.sampled_from([1.0, 20.0]), "last": st.integers(1, 2)}
)
distances = st.fixed_dictionaries(
    {
        "type": st.just("drift"),
        "signal": st.just("prediction"),
        "statistic": st.just("psi"),
        "threshold": st.just(0.2),
        "for": st.integers(1, 3),
    }
)
shares = st.fixed_dictionaries(
    {"type": st.just("drift"), "signal": st.just("data"), "threshold": st.just(0.5), "for": st.integers(1, 2)}
)
ages = st.fixed_dictionaries({"type": st.just("age"), "max": WEEKS})
on_predictions = performances | differences | distances | shares


def combined(conditions):
    several = st.lists(conditions, min_size=1, max_size=3)
    one_level = st.builds(lambda kind, of: {"type": kind, "of": of}, st.sampled_from(["any", "all"]), several)
    return (
        conditions
        | one_level
        | st.builds(
            lambda kind, of, more: {"type": kind, "of": [of, more]},
            st.sampled_from(["any", "all"]),
            one_level,
            conditions,
        )
    )


guarded = st.fixed_dictionaries(
    {
        "cooldown": WEEKS,
        "warm_up": st.integers(0, 4).map(lambda weeks: f"{7 * weeks}d"),
        "budget": st.fixed_dictionaries({"runs": st.integers(1, 3), "per": WEEKS}),
    }
)
policies = st.builds(lambda when, guards: policy(when, **guards), combined(on_predictions | ages), guarded)
policies_on_predictions = st.builds(lambda when, guards: policy(when, **guards), combined(on_predictions), guarded)

readings = st.tuples(st.floats(20, 120), st.floats(0, 0.4), st.floats(0, 1), st.integers(0, 5))


@st.composite
def deployment_periods(draw, at_most=16):
    """Generate the windows of a deployment period: some have too few rows, some have no labels."""
    drawn = draw(st.lists(readings, min_size=1, max_size=at_most))
    return [
        window(
            index,
            None if kind == 1 else loss,
            too_few_rows=kind == 0,
            prediction_drift={"psi": psi},
            data_drift_share=share,
        )
        for index, (loss, psi, share, kind) in enumerate(drawn)
    ]


def ids(evidence: list[Evidence]) -> set[str]:
    return {item.identity for item in evidence}


def end_of(identity: str) -> datetime:
    """Return the end of the window in an evidence's identity."""
    return next(after(index + 1) for index in range(60) if identity.endswith(week(index)))


def played(spec, windows, lag: int, state: LoopState | None = None) -> list[tuple[LoopState, Decision]]:
    loop = Loop(spec, lag=lag, state=state or loop_state())
    loop.play(windows)
    return loop.steps


# Determinism


@SOME
@given(policies, deployment_periods(), st.integers(0, 2))
def test_same_arguments_give_the_same_decision(spec, windows, lag):
    assert played(spec, windows, lag) == played(spec, windows, lag)


@SOME
@given(policies, deployment_periods(), st.randoms(use_true_random=False))
def test_order_of_windows_and_trainings_does_not_matter(spec, windows, random):
    state = played(spec, windows, 5)[-1][0]
    shuffled = state.model_copy(update={"trainings": random.sample(state.trainings, len(state.trainings))})
    others = random.sample(windows, len(windows))
    args = {"window": windows[-1].window, "stage": "labelled"}
    now = windows[-1].end
    assert decide(spec, others, shuffled, now, **args) == decide(spec, windows, state, now, **args)


# Guards


@SOME
@given(policies, deployment_periods(), st.integers(0, 3), st.integers(0, 8))
def test_retrain_requires_all_guards(spec, windows, lag, cooldown_began):
    state = loop_state(cooldown_from=START - cooldown_began * WEEK)
    for known, decision in played(spec, windows, lag, state):
        if decision.outcome != "RETRAIN":
            continue
        within = [training for training in known.trainings if training > decision.at - spec.budget.per]
        assert decision.at >= known.cooldown_from + spec.cooldown
        assert decision.at >= START + spec.warm_up
        assert len(within) < spec.budget.runs
        assert known.in_progress is None
        assert known.new_rows >= spec.min_new_rows
        assert decision.evidence


@SOME
@given(policies, deployment_periods(), st.integers(0, 3))
def test_evidence_with_all_guards_passed_retrains(spec, windows, lag):
    for _, decision in played(spec, windows, lag):
        if decision.evidence and all(guard.passed for guard in decision.guards):
            assert decision.outcome == "RETRAIN"


@SOME
@given(policies, deployment_periods(), st.integers(0, 3))
def test_too_few_new_rows_never_retrain_and_collect_once_per_evidence(spec, windows, lag):
    loop = Loop(spec, lag=lag, new_rows=0, state=loop_state(new_rows=0))
    decisions = loop.play(windows)
    collects = [decision for decision in decisions if decision.outcome == "COLLECT"]
    assert all(decision.outcome != "RETRAIN" for decision in decisions)
    assert len({frozenset(ids(decision.evidence)) for decision in collects}) == len(collects)


# Consumption


@SOME
@given(policies, deployment_periods(), st.integers(0, 3))
def test_evidence_stays_active_until_consumed(spec, windows, lag):
    steps = played(spec, windows, lag)
    for (known, earlier), (later_known, later) in pairwise(steps):
        if known.consumed_through == later_known.consumed_through:
            assert ids(earlier.evidence) <= ids(later.evidence)


@SOME
@given(policies, deployment_periods(), st.integers(1, 6))
def test_later_healthy_windows_do_not_remove_evidence(spec, windows, healthy):
    before = found(spec, windows)
    count = len(windows)
    calm = [window(count + i, 1.0, prediction_drift={"psi": 0.0}, data_drift_share=0.0) for i in range(healthy)]
    assert ids(before) <= ids(found(spec, [*windows, *calm]))


@SOME
@given(policies, deployment_periods())
def test_evidence_is_found_again_without_earlier_decisions(spec, windows):
    known, decision = played(spec, windows, lag=99)[-1]
    forgetful = known.model_copy(update={"recorded": []})
    assert ids(find_evidence(spec, windows, forgetful, decision.at)) == ids(decision.evidence)


@SOME
@given(policies, deployment_periods(), st.integers(0, 3))
def test_consumed_evidence_never_retrains_again(spec, windows, lag):
    retrained: list[str] = []
    for known, decision in played(spec, windows, lag):
        if known.consumed_through is not None:
            assert all(end_of(identity) > known.consumed_through for identity in ids(decision.evidence))
        if decision.outcome == "RETRAIN":
            retrained.append(decision.id)
    assert len(retrained) == len(set(retrained))


@SOME
@given(policies_on_predictions, deployment_periods(at_most=10), st.data())
def test_late_labels_never_rename_recorded_evidence(spec, windows, data):
    pending = data.draw(st.integers(0, len(windows)))
    ended = [
        item if index < pending else item.model_copy(update={"loss": None, "stage": "ended"})
        for index, item in enumerate(windows)
    ]
    before = found(spec, ended)
    after_labels = found(spec, windows, loop_state(recorded=before))
    assert ids(before) <= ids(after_labels)
    assert len({item.signal for item in after_labels}) == len(after_labels)


# What is no evidence


@SOME
@given(policies_on_predictions, st.floats(0, 500), st.floats(0, 0.2), st.floats(0, 0.5), st.integers(1, 20))
def test_stationary_deployment_period_never_retrains(spec, loss, psi, share, count):
    windows = [window(i, loss, prediction_drift={"psi": psi}, data_drift_share=share) for i in range(count)]
    steps = played(spec, windows, 0, loop_state({"holdout_loss": loss}))
    assert {(decision.outcome, len(decision.evidence)) for _, decision in steps} == {("WAIT", 0)}


@SOME
@given(policies_on_predictions, deployment_periods())
def test_windows_with_too_few_rows_change_nothing(spec, windows):
    old_enough = [item for item in windows if not item.too_few_rows]
    now = windows[-1].end
    assert find_evidence(spec, windows, loop_state(), now) == find_evidence(spec, old_enough, loop_state(), now)


# Any and all


@SOME
@given(st.lists(on_predictions | ages, min_size=1, max_size=4), deployment_periods())
def test_all_is_in_breach_exactly_when_every_member_is(members, windows):
    alone = [bool(found(policy(member), windows)) for member in members]
    together = found(policy(*members, type="all") if len(members) > 1 else policy(*members), windows)
    either = found(policy(*members), windows)
    assert bool(together) == all(alone)
    assert bool(either) == any(alone)
    assert ids(together) <= ids(either)
    assert len(either) <= len(set(leaves(policy(*members).when)))


# Ids


evidences = st.builds(
    lambda signal, index, value: Evidence(
        deployment_period=1, signal=signal, window=week(index), value=value, threshold=1.0, sentence=f"{value}"
    ),
    st.sampled_from(["age", "drift:data", "performance:holdout"]),
    st.integers(0, 5),
    st.floats(0, 9),
)


@SOME
@given(st.lists(evidences, min_size=1, max_size=4, unique_by=lambda item: item.identity), st.randoms(), st.data())
def test_id_does_not_depend_on_order_values_or_wording_of_evidence(evidence, random, data):
    others = [item.model_copy(update={"value": 0.0, "sentence": ""}) for item in random.sample(evidence, len(evidence))]
    outcome = data.draw(st.sampled_from(["RETRAIN", "COLLECT"]))
    one = decision_id(loop_state(), outcome, evidence, week(7), "labelled")
    assert one == decision_id(loop_state(), outcome, others, week(8), "ended")
    assert one != decision_id(loop_state({"number": 2}), outcome, evidence, week(7), "labelled")
    assert one != decision_id(loop_state(), outcome, evidence[1:], week(7), "labelled")


@SOME
@given(deployment_periods(), st.integers(2, 9))
def test_deployment_periods_never_share_a_decision(windows, number):
    spec = policy(PERFORMANCE, PSI)
    first, other = decided(spec, windows), decided(spec, windows, loop_state({"number": number}))
    assert first.outcome == other.outcome
    assert first.id != other.id
    assert ids(first.evidence).isdisjoint(ids(other.evidence))


@SOME
@given(st.floats(20, 60), st.floats(1.4, 5), st.integers(0, 8), st.integers(0, 3))
def test_lasting_break_retrains_once_when_enough_windows_show_it(level, factor, calm, lag):
    broken = losing(*[level] * (2 + calm), *[level * factor] * 4)
    steps = played(policy(PERFORMANCE), broken, lag)
    retrains = [index for index, (_, decision) in enumerate(steps) if decision.outcome == "RETRAIN"]
    assert len(retrains) == 1
    assert 2 + calm <= retrains[0] <= 3 + calm
