"""`rollback`: a former champion serves again, by the same steps as a promotion."""

from __future__ import annotations

from uuid import uuid4

from mlops_assets.deployment.assets import promoter_of
from mlops_assets.deployment.gate import promotion_id
from mlops_assets.deployment.promotion import rollback_target
from mlops_assets.retraining.records import PromotionStep
from resources.platform import Desk


def roll_back(desk: Desk, to: int | None) -> PromotionStep:
    """Let a former champion serve; what was recorded."""
    version = rollback_target(desk.history(), to)
    return promoter_of(desk).promote(
        version,
        promotion=promotion_id(desk.spec.name, f"rollback:{uuid4().hex}", version),
        cause="rollback",
        now=desk.now(),
        reason=f"a person rolled back to version {version}",
    )
