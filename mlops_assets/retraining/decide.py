"""From evidence to a decision: RETRAIN, WAIT or COLLECT. Pure: the same arguments give the same decision and id."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from mlops_assets.ledger.facts import Decision, DecisionOutcome, Evidence, Guard, Stage
from mlops_assets.retraining.evidence import LoopState, SignalRow, Signals, WindowEvidence
from mlops_assets.retraining.wording import apart, number
from mlops_assets.spec.duration import format_duration
from mlops_assets.spec.loop import RetrainingSpec

HOLDING = ("held_back", "cooldown", "warm_up", "budget")
"""Guards that time lifts; `min_new_rows` asks for data instead, `in_progress` for patience."""


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
        windows: one entry per window of the deployment period up to the one decided on, the newest stage known.
        history: what happened around them, without this very decision.
        now: the project's time.
        window: id of the window that is decided on.
        stage: its stage.

    Raises:
        Refused: when a window has not ended yet.
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
    """The rules in their order: evidence, a training under way, what time lifts, enough data."""
    failed = {guard.name: guard.detail for guard in guards if not guard.passed}
    because = _because(evidence)
    if not evidence:
        return "WAIT", f"Wait: {_no_breach(signals)}."
    if "in_progress" in failed:
        return "WAIT", f"Wait: {failed['in_progress']}; {because}."
    held = [failed[name] for name in HOLDING if name in failed]
    if held:
        return "WAIT", f"Wait: {because}; held back by {' and by '.join(held)}."
    if "min_new_rows" not in failed:
        return "RETRAIN", f"Retrain: {because}."
    if collecting:
        return "WAIT", f"Wait: collecting, since {failed['min_new_rows']}; {because}."
    return "COLLECT", f"Collect: {because}, but {failed['min_new_rows']}."


def person_decision(
    project: str, deployment_period: int, request: str, evidence: Sequence[Evidence], now: datetime
) -> Decision:
    """The RETRAIN that a person asks for; it is given all standing evidence, and its verdict consumes it.

    Args:
        project: the project's name.
        deployment period: number of the present deployment period.
        request: what tells this request from other ones; asking twice with the same one leaves one decision.
        evidence: what stands now (`find_evidence`).
        now: the project's time.
    """
    stands = f"evidence stands: {_because(evidence)}" if evidence else "no evidence stands"
    return Decision(
        id=request_id(project, request),
        project=project,
        deployment_period=deployment_period,
        outcome="RETRAIN",
        window=None,
        stage=None,
        at=now,
        reason=f"Retrain: a person asked for it; {stands}.",
        evidence=list(evidence),
        by="person",
    )


def decision_id(
    state: LoopState, outcome: DecisionOutcome, evidence: Sequence[Evidence], window: str, stage: Stage
) -> str:
    """The name of a policy's decision: RETRAIN and COLLECT are told apart by their evidence, WAIT by its window."""
    told_apart_by = [window, stage] if outcome == "WAIT" else sorted(item.identity for item in evidence)
    return _hash(state.project, str(state.deployment_period.number), outcome, *told_apart_by)


def request_id(project: str, request: str) -> str:
    """The name of the decision that a person's request becomes."""
    return _hash(project, "person", request)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


# Guards


def _guards(signals: Signals) -> list[Guard]:
    policy, history = signals.policy, signals.state
    enough = history.new_rows >= policy.min_new_rows
    return [
        Guard(
            name="in_progress",
            passed=history.in_progress is None,
            detail=f"retraining {history.in_progress} is in progress" if history.in_progress else "none is in progress",
        ),
        Guard(
            name="held_back",
            passed=not history.held,
            detail="a person, who holds retrainings back" if history.held else "no person holds retrainings back",
        ),
        _cooldown(signals),
        _warm_up(signals),
        _budget(signals),
        Guard(
            name="min_new_rows",
            passed=enough,
            detail=f"{'' if enough else 'only '}{history.new_rows} labelled rows are new since the champion's "
            f"training, of at least {policy.min_new_rows}",
        ),
    ]


def _cooldown(signals: Signals) -> Guard:
    start, length = signals.state.cooldown_from, signals.policy.cooldown
    if start is None:
        return Guard(name="cooldown", passed=True, detail="no training has been judged yet")
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
    spent = sorted(training for training in signals.state.trainings if training > signals.now - budget.per)
    what = f"the budget of {budget.runs} trainings per {format_duration(budget.per)}"
    if len(spent) < budget.runs:
        return Guard(name="budget", passed=True, detail=f"{what}, {len(spent)} of them spent")
    until = spent[len(spent) - budget.runs] + budget.per
    return Guard(name="budget", passed=False, detail=f"{what} until {signals.moment(until)}")


# Reasons


def _because(evidence: Sequence[Evidence]) -> str:
    return ", and ".join(item.sentence for item in evidence)


def _no_breach(signals: Signals) -> str:
    rows = signals.table()
    apart_from = [row for row in rows if row.since is None]
    if len(apart_from) < len(rows):
        stands = _because([signals.standing[leaf] for leaf in signals.names if leaf in signals.standing])
        return f"not all signals that are needed together are in breach; {stands}; {_nearest(apart_from)}"
    return f"no signal is in breach; {_nearest(rows)}"


def _nearest(rows: Sequence[SignalRow]) -> str:
    """The condition that comes nearest to a breach, as a share of its threshold."""
    valued = [(row.value, row.threshold, row) for row in rows if row.value is not None and row.threshold is not None]
    if not valued:
        return f"no value yet: {', '.join(f'{row.condition} ({row.note})' for row in rows)}"
    value, threshold, row = max(valued, key=lambda item: _share(item[0], item[1]))
    value_text, threshold_text = apart(value, threshold) if value != threshold else (number(value), number(threshold))
    note = f" ({row.note})" if row.note else ""
    return f"nearest is {row.condition}, at {value_text} of {threshold_text}{note}"


def _share(value: float, threshold: float) -> float:
    if threshold > 0:
        return value / threshold
    return float("inf") if value > 0 else 0.0
