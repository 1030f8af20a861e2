"""The typed, immutable facts of the ledger. All times are project time, aware UTC, unless a field says otherwise."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, TypeAdapter

from mlops_assets.ledger.facts.base import Fact, RequestedBy, Stage
from mlops_assets.ledger.facts.decisions import (
    Collected,
    Decided,
    Decision,
    DecisionOutcome,
    Evidence,
    Guard,
    RetrainingHeld,
)
from mlops_assets.ledger.facts.promotions import DeploymentPeriod, PromotionCause, PromotionStep
from mlops_assets.ledger.facts.reports import Reported
from mlops_assets.ledger.facts.scoring import EventMissed, Scored
from mlops_assets.ledger.facts.trainings import (
    FeasibilityChecked,
    GateVerdict,
    TrainingEnded,
    TrainingOutcome,
    TrainingStarted,
    Verdict,
    VersionTrained,
)
from mlops_assets.ledger.facts.windows import ClockMoved, WindowLabelled, WindowPublished, WindowQuarantined

__all__ = [
    "FACTS",
    "AnyFact",
    "ClockMoved",
    "Collected",
    "Decided",
    "Decision",
    "DecisionOutcome",
    "DeploymentPeriod",
    "EventMissed",
    "Evidence",
    "Fact",
    "FeasibilityChecked",
    "GateVerdict",
    "Guard",
    "PromotionCause",
    "PromotionStep",
    "Reported",
    "RequestedBy",
    "RetrainingHeld",
    "Scored",
    "Stage",
    "TrainingEnded",
    "TrainingOutcome",
    "TrainingStarted",
    "Verdict",
    "VersionTrained",
    "WindowLabelled",
    "WindowPublished",
    "WindowQuarantined",
]

AnyFact = Annotated[
    ClockMoved
    | WindowPublished
    | WindowQuarantined
    | WindowLabelled
    | Scored
    | EventMissed
    | Reported
    | Decided
    | TrainingStarted
    | TrainingEnded
    | VersionTrained
    | GateVerdict
    | PromotionStep
    | Collected
    | RetrainingHeld
    | FeasibilityChecked,
    Field(discriminator="kind"),
]
"""Any fact. Its `kind` is stored with it and says which class reads it."""
FACTS: TypeAdapter[AnyFact] = TypeAdapter(AnyFact)
"""Reads a stored fact."""
