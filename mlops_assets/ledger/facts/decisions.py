"""Facts about decisions: what was decided and why, COLLECT hooks that ran, and holds by a person."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from mlops_assets.ledger.facts.base import Fact, Stage
from mlops_assets.ledger.frozen import FrozenModel

DecisionOutcome = Literal["RETRAIN", "WAIT", "COLLECT"]


class Evidence(FrozenModel):
    """An active trigger of a retraining: a signal of the policy that was in breach."""

    deployment_period: int = Field(alias="reign")
    """Number of the deployment period in which the breach was found."""
    signal: str
    """Name of the signal, as in `performance:holdout`."""
    window: str
    """Id of the first window of the breach."""
    value: float
    threshold: float
    sentence: str
    """The breach in words, with its numbers."""

    @property
    def identity(self) -> str:
        """Identifies the evidence: deployment period, signal and window, but neither numbers nor wording."""
        return f"{self.deployment_period}:{self.signal}:{self.window}"


class Guard(FrozenModel):
    """One condition that can hold a retraining back."""

    name: Literal["held_back", "cooldown", "budget", "min_new_rows", "warm_up", "in_progress"]
    passed: bool
    detail: str


class Decision(FrozenModel):
    """What was decided for one window at one stage, and why."""

    id: str
    project: str
    deployment_period: int = Field(alias="reign")
    """Number of the deployment period that was decided on."""
    outcome: DecisionOutcome
    window: str | None
    """Id of the window; None for a person's request."""
    stage: Stage | None
    """Stage of the window; None for a person's request."""
    at: AwareDatetime
    reason: str
    """Why, in one or two sentences. The outcome itself is not repeated here."""
    evidence: list[Evidence] = []
    """The active triggers."""
    guards: list[Guard] = []
    by: Literal["policy", "person"] = "policy"
    in_progress: str | None = None
    """Id of the RETRAIN that already acts on this evidence."""

    @property
    def text(self) -> str:
        """The outcome and its reason in one line, as in `WAIT: no trigger. ...`."""
        # release 0.1.0 repeated the outcome in the reason
        return f"{self.outcome}: {self.reason.removeprefix(f'{self.outcome.capitalize()}: ')}"


class Decided(Fact):
    """A decision was made."""

    kind: Literal["decision"] = "decision"
    decision: Decision

    @property
    def key(self) -> str:
        return self.decision.id


class Collected(Fact):
    """The project's `collect` hook ran for a COLLECT decision."""

    kind: Literal["collected"] = "collected"
    decision: str
    """Id of the decision."""
    detail: str
    """What the hook returned."""

    @property
    def key(self) -> str:
        return self.decision


class RetrainingHeld(Fact):
    """A person held the policy's retrainings back, or released them."""

    kind: Literal["held"] = "held"
    held: bool
    number: int
    """Counts the facts of this kind in a project from 0."""

    @property
    def key(self) -> str:
        return str(self.number)
