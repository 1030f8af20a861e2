"""Decide from the evidence: RETRAIN, WAIT or COLLECT. The same arguments always give the same decision and id."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from mlops_assets.ledger.facts import Decision, DecisionOutcome, Evidence, Guard, Stage
from mlops_assets.retraining.evidence import LoopState, SignalRow, Signals, WindowEvidence
from mlops_assets.retraining.wording import Leaf, compared, subject
from mlops_assets.spec.duration import format_duration
from mlops_assets.spec.retraining import RetrainingSpec

HOLDING = ("held_back", "cooldown", "warm_up", "budget")
"""Guards that hold a retraining back until some time; `min_new_rows` and `in_progress` have rules of their own."""


def decide(
    policy: RetrainingSpec,
    windows: Sequence[WindowEvidence],
    state: LoopState,
    now: datetime,
    *,
    window: str,
    stage: Stage,
) -> Decision:
    """Decide on one window at one stage.

    Args:
        policy: the project's `retraining`.
        windows: one entry per window of the deployment period up to the one decided on, each at its latest stage.
        state: the state of the loop, without this decision.
        now: the project's time.
        window: id of the window that is decided on.
        stage: the stage of that window.

    Raises:
        Refused: a window has not ended by `now`.
    """
    signals = Signals(policy, windows, state, now)
    evidence, guards = signals.evidence(), _guards(signals)
    collecting = decision_id(state, "COLLECT", evidence, window, stage) in state.collected
    outcome, reason = _outcome(signals, evidence, guards, collecting)
    return Decision(
        id=decision_id(state, outcome, evidence, window, stage),
        project=state.project,
        deployment_period=state.deployment_period.number,
        outcome=outcome,
        window=window,
        stage=stage,
        at=now,
        reason=reason,
        evidence=evidence,
        guards=guards,
        in_progress=state.in_progress if evidence else None,
    )


def _outcome(
    signals: Signals, evidence: Sequence[Evidence], guards: Sequence[Guard], collecting: bool
) -> tuple[DecisionOutcome, str]:
    """Apply the rules in their order: evidence, a retraining in progress, guards that hold back, enough data."""
    if not evidence:
        return "WAIT", _without_evidence(signals)
    failed = {guard.name: guard.detail for guard in guards if not guard.passed}
    triggers = _triggers(evidence)
    if "in_progress" in failed:
        return "WAIT", f"{failed['in_progress']}. {triggers}."
    held = [failed[name] for name in HOLDING if name in failed]
    if held:
        return "WAIT", f"held back by {' and by '.join(held)}. {triggers}."
    if "min_new_rows" not in failed:
        return "RETRAIN", f"{_sentences(evidence)}."
    if collecting:
        return "WAIT", f"data collection was requested: only {failed['min_new_rows']}. {triggers}."
    return "COLLECT", f"only {failed['min_new_rows']}. {triggers}."


def person_decision(
    project: str, deployment_period: int, request: str, evidence: Sequence[Evidence], now: datetime
) -> Decision:
    """Return the RETRAIN decision that a person requests. Its verdict consumes all active evidence.

    Args:
        project: the project's name.
        deployment_period: number of the present deployment period.
        request: identifies the request; the same request twice gives the same decision.
        evidence: the active evidence (`find_evidence`).
        now: the project's time.
    """
    return Decision(
        id=request_id(project, request),
        project=project,
        deployment_period=deployment_period,
        outcome="RETRAIN",
        window=None,
        stage=None,
        at=now,
        reason=f"requested by a person. {_triggers(evidence) if evidence else 'No active trigger'}.",
        evidence=list(evidence),
        by="person",
    )


def decision_id(
    state: LoopState, outcome: DecisionOutcome, evidence: Sequence[Evidence], window: str, stage: Stage
) -> str:
    """Return the id of a policy's decision.

    RETRAIN and COLLECT are identified by their evidence, so that they are recorded once. WAIT is identified by its
    window and stage. Neither numbers nor wording are part of an id.
    """
    identity = [window, stage] if outcome == "WAIT" else sorted(item.identity for item in evidence)
    return _hash(state.project, str(state.deployment_period.number), outcome, *identity)


def request_id(project: str, request: str) -> str:
    """Return the id of the decision for a person's request."""
    return _hash(project, "person", request)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


# Guards


def _guards(signals: Signals) -> list[Guard]:
    policy, state = signals.policy, signals.state
    return [
        Guard(
            name="in_progress",
            passed=state.in_progress is None,
            detail=f"retraining {state.in_progress} is in progress"
            if state.in_progress
            else "no retraining is in progress",
        ),
        Guard(
            name="held_back",
            passed=not state.held,
            detail="a person (mlops-assets hold)" if state.held else "no person holds retrainings back",
        ),
        _cooldown(signals),
        _warm_up(signals),
        _budget(signals),
        Guard(
            name="min_new_rows",
            passed=state.new_rows >= policy.min_new_rows,
            detail=f"{state.new_rows} new labelled rows since the champion's training, {policy.min_new_rows} required",
        ),
    ]


def _cooldown(signals: Signals) -> Guard:
    start, length = signals.state.cooldown_from, signals.policy.cooldown
    if start is None:
        return Guard(name="cooldown", passed=True, detail="no training has a verdict yet")
    until = start + length
    return Guard(
        name="cooldown",
        passed=signals.now >= until,
        detail=f"the cooldown of {format_duration(length)} until {signals.moment(until)}",
    )


def _warm_up(signals: Signals) -> Guard:
    until = signals.state.deployment_period.start + signals.policy.warm_up
    return Guard(
        name="warm_up",
        passed=signals.now >= until,
        detail=f"the warm-up of {format_duration(signals.policy.warm_up)} until {signals.moment(until)}",
    )


def _budget(signals: Signals) -> Guard:
    budget = signals.policy.budget
    counted = sorted(training for training in signals.state.trainings if training > signals.now - budget.per)
    what = f"the budget of {budget.runs} trainings per {format_duration(budget.per)}"
    if len(counted) < budget.runs:
        return Guard(name="budget", passed=True, detail=f"{what}, {len(counted)} used")
    until = counted[len(counted) - budget.runs] + budget.per
    return Guard(name="budget", passed=False, detail=f"{what} until {signals.moment(until)}")


# Reasons


def _sentences(evidence: Sequence[Evidence]) -> str:
    return "; ".join(item.sentence for item in evidence)


def _triggers(evidence: Sequence[Evidence]) -> str:
    return f"Active trigger{'s' if len(evidence) > 1 else ''}: {_sentences(evidence)}"


def _without_evidence(signals: Signals) -> str:
    active = [signals.active[leaf] for leaf in signals.names if leaf in signals.active]
    inactive = [(leaf, row) for leaf, row in signals.leaf_rows() if leaf not in signals.active]
    if active:
        return f"not all required triggers are active. {_triggers(active)}. {_closest(inactive)}."
    return f"no trigger. {_closest(inactive)}."


def _closest(rows: Sequence[tuple[Leaf, SignalRow]]) -> str:
    """Return the condition that is closest to a breach, by its value as a share of its threshold."""
    valued = [
        (row.value, row.threshold, leaf, row)
        for leaf, row in rows
        if row.value is not None and row.threshold is not None
    ]
    if not valued:
        return f"No value yet: {', '.join(f'{subject(leaf)} ({row.note})' for leaf, row in rows)}"
    value, threshold, leaf, row = max(valued, key=lambda item: _share(item[0], item[1]))
    return f"Closest: {compared(leaf, value, threshold)}{f' ({row.note})' if row.note else ''}"


def _share(value: float, threshold: float) -> float:
    if threshold > 0:
        return value / threshold
    return float("inf") if value > 0 else 0.0
