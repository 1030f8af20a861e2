"""The section `training` of a `defs.yaml`: how candidates are trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlops_assets.spec.duration import SpecModel

Algorithm = Literal["GBM", "XGBoost", "DRF", "GLM"]


class H2OAutoMLSpec(SpecModel):
    """H2O AutoML on rows in time order; then the best model's recipe is fitted again on all rows."""

    type: Literal["h2o_automl"] = "h2o_automl"
    """The method by which a recipe is found."""
    max_models: int = Field(default=6, ge=1)
    """Number of models that AutoML tries. There is no time limit, so that every run finds the same recipe."""
    seed: int = 1
    """Seed of AutoML and of all fits."""
    algorithms: list[Algorithm] = Field(default=["GBM", "XGBoost", "DRF", "GLM"], min_length=1)
    """Algorithms that AutoML may use; DeepLearning and stacked ensembles cannot be refitted exactly."""
    memory: str = Field(default="1g", pattern=r"^\d+[mg]$")
    """Heap of the H2O JVM, for example `1g`."""
