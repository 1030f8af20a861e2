"""The fact that a window was reported on."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from mlops_assets.ledger.facts.base import Fact, Stage
from mlops_assets.ledger.summaries import DriftSummary, HealthSummary, PerformanceSummary, Summary


class Reported(Fact):
    """One report of one window at one stage."""

    kind: Literal["report"] = "report"
    report: Literal["drift", "performance", "health"]
    window: str
    stage: Stage
    deployment_period: int = Field(alias="reign")
    """Number of the deployment period that the report is about."""
    version: int
    summary: dict[str, Any]
    """A `DriftSummary`, `PerformanceSummary` or `HealthSummary`, depending on `report`."""
    inputs: dict[str, str]
    """Data version of each window that was read, by window id."""
    repaired: bool = False
    """The window was quarantined before; its report is shown, but the policy does not read it."""

    SUMMARIES: ClassVar[dict[str, type[DriftSummary] | type[PerformanceSummary] | type[HealthSummary]]] = {
        "drift": DriftSummary,
        "performance": PerformanceSummary,
        "health": HealthSummary,
    }

    @property
    def key(self) -> str:
        return f"{self.report}:{self.window}:{self.stage}"

    @property
    def typed(self) -> Summary:
        """The summary as an object of its own type."""
        return self.SUMMARIES[self.report].model_validate(self.summary)
