"""When a training is tried again, by the facts about its earlier attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from retraining_inputs import AGE, policy

from mlops_assets.ledger.facts import RequestedBy, TrainingEnded, TrainingOutcome
from mlops_assets.ledger.view import LedgerView
from mlops_assets.retraining.retries import end_without_verdict, next_attempt
from mlops_assets.waiting import pause_after

AS_OF = datetime(2020, 1, 2, tzinfo=UTC)
WALL_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def view_of(*outcomes: TrainingOutcome) -> LedgerView:
    """Return a ledger view in which the attempts of decision `d` ended with these outcomes, a minute apart."""
    ends = (
        TrainingEnded(
            at=AS_OF,
            training=f"d:{number}",
            decision="d",
            attempt=number,
            by="policy",
            run_id=f"run {number}",
            outcome=outcome,
            as_of=AS_OF,
            wall_time=WALL_TIME + number * timedelta(minutes=1),
        )
        for number, outcome in enumerate(outcomes, start=1)
    )
    return LedgerView("small", tuple(ends))


def test_first_attempt_starts_at_once() -> None:
    found = next_attempt(view_of(), "d", policy(AGE))
    assert (found.number, found.not_before) == (1, None)


def test_pause_before_next_attempt_doubles_with_each_attempt() -> None:
    spec = policy(AGE, pause="30s")
    second = next_attempt(view_of("FAILED"), "d", spec)
    third = next_attempt(view_of("FAILED", "FAILED"), "d", spec)
    assert (second.number, second.not_before) == (2, WALL_TIME + timedelta(minutes=1, seconds=30))
    assert (third.number, third.not_before) == (3, WALL_TIME + timedelta(minutes=2, seconds=60))


@pytest.mark.parametrize(
    ("before", "by", "final"),
    [
        ((), "policy", False),
        (("FAILED",), "policy", True),
        (("INTERRUPTED", "INTERRUPTED"), "policy", False),
        (("INTERRUPTED", "FAILED"), "policy", True),
        ((), "person", True),
    ],
)
def test_failed_attempt_is_final_when_no_attempt_is_left(
    before: tuple[TrainingOutcome, ...], by: RequestedBy, final: bool
) -> None:
    """Two attempts are allowed for the policy, one for a person; interrupted attempts do not count."""
    end = end_without_verdict(view_of(*before), "d", by, policy(AGE, attempts=2), interrupted=False)
    assert (end.outcome, end.final) == ("FAILED", final)


def test_interrupted_attempt_is_never_final() -> None:
    end = end_without_verdict(view_of("FAILED", "FAILED"), "d", "policy", policy(AGE, attempts=2), interrupted=True)
    assert (end.outcome, end.final) == ("INTERRUPTED", False)


def test_pause_doubles_up_to_the_longest_pause() -> None:
    first, longest = timedelta(seconds=5), timedelta(minutes=5)
    seconds = [pause_after(failures, first, longest).total_seconds() for failures in (1, 2, 3, 6, 7, 1000)]
    assert seconds == [5, 10, 20, 160, 300, 300]


def test_first_pause_above_the_longest_pause_does_not_grow() -> None:
    assert pause_after(3, timedelta(hours=1), timedelta(minutes=5)) == timedelta(hours=1)
