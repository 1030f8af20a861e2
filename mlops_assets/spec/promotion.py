"""`promotion`: what a candidate must show to be promoted."""

from __future__ import annotations

from pydantic import Field

from mlops_assets.spec.duration import SpecModel


class PromotionSpec(SpecModel):
    """What a candidate must show to be promoted."""

    margin: float = Field(default=0.02, ge=0, lt=1)
    """The candidate's loss must be lower than the champion's by at least this share, on the same hold-out rows."""
    min_rows: int = Field(default=300, ge=1)
    """Minimum number of hold-out rows that neither version was trained on. With fewer the verdict is HOLD."""
