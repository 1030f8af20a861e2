"""How candidates are made."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops_assets.spec.duration import SpecModel

Algorithm = Literal["GBM", "XGBoost", "DRF", "GLM"]


class H2OAutoMLSpec(SpecModel):
    """H2O AutoML in time order; then the leader's recipe, fitted again exactly."""

    type: Literal["h2o_automl"] = "h2o_automl"
    """How recipes are found."""
    max_models: int = Field(default=6, ge=1)
    """How many models AutoML tries; no time limit, so that a run again finds the same."""
    seed: int = 1
    """Of every draw that AutoML and the fits make."""
    algorithms: list[Algorithm] = Field(default=["GBM", "XGBoost", "DRF", "GLM"], min_length=1)
    """Those that can be refitted exactly; DeepLearning and stacked ensembles cannot."""
    memory: str = Field(default="1g", pattern=r"^\d+[mg]$")
    """Heap of the JVM."""
