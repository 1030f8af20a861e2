"""Training requests: who requested a training, which attempt it is, and the facts about its start and end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from mlops_assets.ledger.facts import (
    Decided,
    Decision,
    Evidence,
    RequestedBy,
    TrainingEnded,
    TrainingOutcome,
    TrainingStarted,
)
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.view import LedgerView
from mlops_assets.retraining.decide import person_decision
from mlops_assets.retraining.evidence import find_evidence
from mlops_assets.retraining.policy_inputs import loop_state, window_evidence
from mlops_assets.retraining.retries import next_attempt_number
from mlops_assets.timeline import Timeline

DECISION_TAG, ATTEMPT_TAG = "decision", "attempt"


class DagsterRun(Protocol):
    """The part of a Dagster run that identifies its training."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def job_name(self) -> str:
        """The name of the run's job."""

    @property
    def tags(self) -> Mapping[str, str]:
        """The run's tags."""


@dataclass(frozen=True)
class RunIdentity:
    """What identifies the training of a run: the run's id, its job's name and its tags."""

    run_id: str
    job: str
    tags: Mapping[str, str]

    @classmethod
    def of(cls, run: DagsterRun) -> RunIdentity:
        """Read the identity off a Dagster run."""
        return cls(run.run_id, run.job_name, run.tags)


@dataclass(frozen=True)
class TrainingRequest:
    """Who requested a training, and which attempt it is. It is the same in every asset of the training's run.

    Attributes:
        training: `<decision or cause>:<attempt>`.
        decision: id of the decision behind it, if there is one.
        attempt: counted from 1.
        by: who requested the training.
        run_id: id of the Dagster run.
        force: a person wants the training although the feasibility model or the success criterion is against it.
    """

    training: str
    decision: str | None
    attempt: int
    by: RequestedBy
    run_id: str
    force: bool = False

    @property
    def consumes(self) -> bool:
        """Whether its verdict clears the active triggers and starts the cooldown."""
        return self.by in ("policy", "person")

    def started(self, as_of: datetime) -> TrainingStarted:
        """Return the fact that the training began."""
        return TrainingStarted(
            at=as_of,
            training=self.training,
            decision=self.decision,
            attempt=self.attempt,
            by=self.by,
            run_id=self.run_id,
            consumes=self.consumes,
        )

    def ended(
        self,
        outcome: TrainingOutcome,
        as_of: datetime,
        *,
        reason: str = "",
        final: bool = False,
    ) -> TrainingEnded:
        """Return the fact that the training ended.

        Args:
            outcome: how it ended.
            as_of: the project's time at which its data were read.
            reason: a sentence for people.
            final: whether a failed training is not tried again.
        """
        return TrainingEnded(
            at=as_of,
            training=self.training,
            decision=self.decision,
            attempt=self.attempt,
            by=self.by,
            run_id=self.run_id,
            outcome=outcome,
            as_of=as_of,
            reason=reason,
            consumes=self.consumes,
            final=final,
            wall_time=datetime.now(UTC),
        )


def identify_training_request(
    view: LedgerView, run_id: str, job: str, tags: Mapping[str, str], project: str
) -> TrainingRequest:
    """Return the training request of a run, from its job and tags and from the facts about it.

    Args:
        view: the project's ledger.
        run_id: id of the Dagster run.
        job: name of the run's job. With any other job than the project's own, a person materialized assets by hand.
        tags: the run's tags.
        project: the project's name.
    """
    started = next((fact for fact in view.started_trainings if fact.run_id == run_id), None)
    force = tags.get("force") == "true"
    if started is not None:
        return TrainingRequest(started.training, started.decision, started.attempt, started.by, run_id, force)
    if job == f"{project}_bootstrap":
        return TrainingRequest(f"bootstrap:{run_id[:8]}", None, 1, "bootstrap", run_id, force)
    decision_id = tags.get(DECISION_TAG)
    if job == f"{project}_retrain" and decision_id is not None:
        decision = view.decision(decision_id)
        attempt = next_attempt_number(view, decision_id)
        by: RequestedBy = "policy" if decision is None else decision.by
        return TrainingRequest(f"{decision_id}:{attempt}", decision_id, attempt, by, run_id, force)
    if job == f"{project}_retrain":
        return TrainingRequest(f"person:{run_id[:8]}", None, 1, "person", run_id, force)
    return TrainingRequest(f"hand:{run_id[:8]}", None, 1, "hand", run_id, force)


def active_evidence(timeline: Timeline, view: LedgerView, now: datetime) -> list[Evidence]:
    """Return all active evidence of the present deployment period; empty before the first promotion."""
    period = view.deployment_period
    ended = timeline.ended_windows(now)
    if period is None or not ended:
        return []
    windows = window_evidence(timeline, view, period, ended[-1])
    state = loop_state(timeline, view, period, new_rows=0)
    return find_evidence(timeline.spec.retraining, windows, state, now)


def request_retraining(ledger: Ledger, timeline: Timeline, request: str, now: datetime) -> Decision:
    """Record that a person requests a retraining, and return the decision.

    Args:
        ledger: the store of facts.
        timeline: the project's windows and due times.
        request: identifies the request: a run's id, or an id made by the command line. The same request twice is
            recorded once.
        now: the project's time.
    """
    view = ledger.view(timeline.project)
    period = view.deployment_period
    decision = person_decision(
        timeline.project,
        period.number if period else 0,
        request,
        active_evidence(timeline, view, now),
        now,
    )
    ledger.append(timeline.project, Decided(at=now, decision=decision))
    return decision
