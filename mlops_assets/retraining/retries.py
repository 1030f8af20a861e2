"""When the training of a RETRAIN decision is tried again. No other module decides this; all functions are pure.

A training that ends without a verdict has either failed or was interrupted. It was interrupted when a server did not
answer, the machine was stopped, or other work fell due before it began. Then it is tried again without a limit: an
outage must not use up attempts. A failed training of the policy is tried again until `retraining.attempts` of them have
failed; one that a person requested is not tried again. Pauses are wall time. They begin with `retraining.pause` and
double.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mlops_assets.ledger.facts import RequestedBy, TrainingEnded, TrainingOutcome
from mlops_assets.ledger.view import LedgerView
from mlops_assets.spec.retraining import RetrainingSpec
from mlops_assets.waiting import pause_after

LONGEST_PAUSE = timedelta(minutes=5)
"""Limit of the pause between two attempts, also of other work of the loop; a longer `retraining.pause` is kept."""


@dataclass(frozen=True)
class NextAttempt:
    """The next attempt of a training.

    Attributes:
        number: counted from 1; interrupted attempts count too, so that each run has its own number.
        not_before: wall time before which it must not start; None for the first attempt.
    """

    number: int
    not_before: datetime | None


@dataclass(frozen=True)
class EndWithoutVerdict:
    """How an attempt without a verdict ended.

    Attributes:
        outcome: FAILED or INTERRUPTED.
        final: whether no attempt is left.
    """

    outcome: TrainingOutcome
    final: bool


def attempts_without_verdict(view: LedgerView, decision_id: str) -> list[TrainingEnded]:
    """Return the attempts of a decision that ended without a verdict, failed or interrupted, oldest first."""
    outcomes = ("FAILED", "INTERRUPTED")
    return [fact for fact in view.ended_trainings if fact.decision == decision_id and fact.outcome in outcomes]


def next_attempt_number(view: LedgerView, decision_id: str) -> int:
    """Return the number of a decision's next attempt, counted from 1."""
    return len(attempts_without_verdict(view, decision_id)) + 1


def next_attempt(view: LedgerView, decision_id: str, policy: RetrainingSpec) -> NextAttempt:
    """Return the number of a decision's next attempt, and when it may start."""
    before = attempts_without_verdict(view, decision_id)
    if not before:
        return NextAttempt(1, None)
    pause = pause_after(len(before), policy.pause, LONGEST_PAUSE)
    return NextAttempt(next_attempt_number(view, decision_id), before[-1].wall_time + pause)


def end_without_verdict(
    view: LedgerView, decision_id: str | None, by: RequestedBy, policy: RetrainingSpec, *, interrupted: bool
) -> EndWithoutVerdict:
    """Return how an attempt that ended without a verdict is recorded.

    Args:
        view: the project's ledger, without this end.
        decision_id: the decision behind the training; None without one.
        by: who requested the training.
        policy: the project's `retraining`.
        interrupted: whether the attempt was interrupted.
    """
    if interrupted:
        return EndWithoutVerdict("INTERRUPTED", final=False)
    before = [] if decision_id is None else attempts_without_verdict(view, decision_id)
    failed = sum(fact.outcome == "FAILED" for fact in before) + 1
    return EndWithoutVerdict("FAILED", final=failed >= (policy.attempts if by == "policy" else 1))
