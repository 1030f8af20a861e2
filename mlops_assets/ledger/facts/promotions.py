"""Facts about promotions and rollbacks, and the deployment periods that follow from them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from mlops_assets.ledger.facts.base import Fact
from mlops_assets.ledger.frozen import FrozenModel

PromotionCause = Literal["bootstrap", "retraining", "rollback", "hand"]


class PromotionStep(Fact):
    """One step of a promotion or a rollback."""

    kind: Literal["promotion"] = "promotion"
    promotion: str
    """Id, the same for all steps of one promotion."""
    step: Literal["PROMOTING", "PROMOTED", "UNDONE"]
    version: int
    """The version that becomes champion."""
    previous: int | None
    """The champion before; None for the first one."""
    cause: PromotionCause
    training: str | None = None
    decision: str | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        return f"{self.promotion}:{self.step}"


class DeploymentPeriod(FrozenModel):
    """The time of a version as champion. A rollback begins a new period. It is derived from `PromotionStep` facts."""

    number: int
    """1 for the first."""
    version: int
    start: datetime
    end: datetime | None
    """None for the present period."""
    cause: PromotionCause
    promotion: str
    """Id of the promotion that began it."""
