"""What tsfresh's calculators cost: a table measured once, so that the same rows always give the same features."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from mlops_assets.errors import TrainingError
from mlops_assets.prediction.features import parse_suffix

PATH = Path(__file__).with_name("calculator_costs.json")


class CombinerCost(BaseModel):
    """A calculator that gives many features in one call."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    first: list[float]
    """Microseconds of a call for one feature, per window length."""
    each: list[float]
    """Microseconds that a further feature adds."""


class CostTable(BaseModel):
    """`calculator_costs.json`, written by `benchmarks/calculator_costs.py`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    steps: list[int]
    """The window lengths that were measured; costs between them are interpolated, beyond them in proportion."""
    simple: dict[str, list[float]]
    """Microseconds of a feature, per window length, by tsfresh's name without the column."""
    combiners: dict[str, CombinerCost]

    def of(self, suffix: str, steps: int, *, first: bool) -> float:
        """Microseconds that a feature adds to an answer.

        Args:
            suffix: tsfresh's name without the column.
            steps: length of the window.
            first: no other feature of the same calculator and column is computed already.

        Raises:
            TrainingError: when the table does not know the calculator.
        """
        calculator, _ = parse_suffix(suffix)
        if calculator in self.combiners:
            cost = self.combiners[calculator]
            return self._at(steps, cost.first if first else cost.each)
        if suffix in self.simple:
            return self._at(steps, self.simple[suffix])
        # A setting of one's own counts as the dearest one that was measured.
        settings = [
            self._at(steps, costs) for name, costs in self.simple.items() if parse_suffix(name)[0] == calculator
        ]
        if not settings:
            raise TrainingError(
                "-",
                f"features.calculators.{calculator}",
                "nobody has measured what it costs",
                "run benchmarks/calculator_costs.py, which writes the table anew",
            )
        return max(settings)

    def _at(self, steps: int, costs: list[float]) -> float:
        known = float(np.interp(steps, self.steps, costs))
        return known * max(1.0, steps / self.steps[-1])


@cache
def read_costs() -> CostTable:
    """The table that is shipped."""
    return CostTable.model_validate_json(PATH.read_text())
