"""`rollback`: a former champion serves again, by the same steps as a promotion."""

from __future__ import annotations

from uuid import uuid4

from mlops_assets.context import ProjectContext
from mlops_assets.deployment.assets import promoter_of
from mlops_assets.deployment.gate import promotion_id
from mlops_assets.deployment.promotion import rollback_target
from mlops_assets.ledger.facts import PromotionStep


def roll_back(context: ProjectContext, to: int | None) -> PromotionStep:
    """Let a former champion serve; what was recorded."""
    version = rollback_target(context.ledger_view(), to)
    return promoter_of(context).promote(
        version,
        promotion=promotion_id(context.spec.name, f"rollback:{uuid4().hex}", version),
        cause="rollback",
        now=context.now(),
        reason=f"a person rolled back to version {version}",
    )
