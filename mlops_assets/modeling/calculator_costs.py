"""Computing time of tsfresh's calculators, from a table that was measured once.

The times are not measured during a training, because the same rows must always give the same features.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from mlops_assets.errors import TrainingError
from mlops_assets.prediction.features import parse_suffix

PATH = Path(__file__).with_name("calculator_costs.json")


class CombinerCost(BaseModel):
    """Computing time of a combiner, a calculator that returns several features in one call."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    first: list[float]
    """Microseconds of a call for one feature, per window length of `CostTable.steps`."""
    each: list[float]
    """Microseconds that each further feature adds, per window length."""


class CostTable(BaseModel):
    """`calculator_costs.json`, written by `benchmarks/calculator_costs.py`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    steps: list[int]
    """Measured window lengths. Between them costs are interpolated; beyond the last they grow in proportion."""
    simple: dict[str, list[float]]
    """Microseconds per window length, by tsfresh's name without the column, of calculators that are not combiners."""
    combiners: dict[str, CombinerCost]

    def microseconds(self, suffix: str, steps: int, *, first: bool) -> float:
        """Return the microseconds that a feature adds to a prediction.

        Args:
            suffix: tsfresh's name without the column.
            steps: length of the feature window.
            first: whether it is the first feature of its calculator and column.

        Raises:
            TrainingError: when the table does not know the calculator.
        """
        calculator, _ = parse_suffix(suffix)
        if calculator in self.combiners:
            cost = self.combiners[calculator]
            return self._at(steps, cost.first if first else cost.each)
        if suffix in self.simple:
            return self._at(steps, self.simple[suffix])
        # a setting that was not measured counts as the slowest one that was
        settings = [
            self._at(steps, costs) for name, costs in self.simple.items() if parse_suffix(name)[0] == calculator
        ]
        if not settings:
            raise TrainingError(
                "-",
                f"features.calculators.{calculator}",
                "its computing time is not in the table",
                "use another calculator, or measure all by `python benchmarks/calculator_costs.py`",
            )
        return max(settings)

    def _at(self, steps: int, costs: list[float]) -> float:
        known = float(np.interp(steps, self.steps, costs))
        return known * max(1.0, steps / self.steps[-1])


@cache
def read_costs() -> CostTable:
    """Return the table that is part of the package."""
    return CostTable.model_validate_json(PATH.read_text())
