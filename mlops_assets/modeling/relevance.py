"""tsfresh's relevance test, and the choice among relevant features within limits of number and computing time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.modeling.calculator_costs import CostTable
from mlops_assets.prediction.features import parse_suffix, quiet
from mlops_assets.prediction.tsfresh_import import import_tsfresh

Task = Literal["regression", "classification"]
MAX_CORRELATION = 0.98
"""Features with a higher absolute correlation with a chosen one are dropped."""
MAX_MISSING = 0.2
"""Features that are missing in a larger share of the sample are not tested."""
MIN_P_VALUE = 1e-300
"""Smaller p-values count as this one."""


@dataclass(frozen=True)
class Feature:
    """One tsfresh feature of one history column."""

    name: str
    column: str
    suffix: str
    """tsfresh's name without the column."""

    @property
    def call(self) -> tuple[str, str]:
        """Column and calculator. Features of one combiner and column are computed in one call and share its cost."""
        return self.column, parse_suffix(self.suffix)[0]


def relevance_p_values(frame: pd.DataFrame, target: npt.NDArray[Any], task: Task, fdr: float) -> dict[str, float]:
    """Return the columns that pass tsfresh's relevance test, with their p-values.

    Missing values are imputed by tsfresh's function for the test only. Columns that are missing in more than a fifth of
    the rows are not tested.

    Args:
        frame: (n, k) features.
        target: (n,) numbers, or class names.
        task: regression for numbers, classification for class names.
        fdr: false discovery rate (Benjamini-Yekutieli).
    """
    import_tsfresh()
    from tsfresh.feature_selection.relevance import calculate_relevance_table
    from tsfresh.utilities.dataframe_functions import impute

    frame = frame.loc[:, frame.isna().mean() <= MAX_MISSING].reset_index(drop=True)
    classes, codes = np.unique(target, return_inverse=True)
    if len(classes) < 2 or frame.empty:
        return {}
    with quiet():
        table = calculate_relevance_table(
            impute(frame),
            pd.Series(target.astype(np.float64) if task == "regression" else codes),
            ml_task=task,
            multiclass=task == "classification" and len(classes) > 2,
            n_jobs=0,
            fdr_level=fdr,
        )
    passed = table[table["relevant"].astype(bool)].reset_index(drop=True).sort_values("feature")
    # of several classes, the smallest p-value counts
    p_values = passed.filter(like="p_value").min(axis=1).astype(np.float64)
    return dict(zip(passed["feature"], p_values, strict=True))


class RelevantFeatures:
    """The features that passed the relevance test, from which the best are chosen.

    Args:
        features: those that passed the test.
        p_values: p-value by feature name.
        values: (n, k) values of the features on the sample, columns by name.
        costs: computing time of each calculator.
        steps: length of a feature window.
    """

    def __init__(
        self, features: list[Feature], p_values: dict[str, float], values: pd.DataFrame, costs: CostTable, steps: int
    ) -> None:
        self.features, self.costs, self.steps = sorted(features, key=lambda f: f.name), costs, steps
        self.p_values = p_values
        names = [feature.name for feature in self.features]
        self._correlation = values[names].corr().abs().fillna(0.0).to_numpy() if names else np.empty((0, 0))

    def choose(self, most: int, budget: float) -> dict[Feature, float]:
        """Return the chosen features in order of choice, with the microseconds that each adds to a prediction.

        The next feature is always the one with the highest relevance (-log10 p) divided by the sum of its shares of
        both limits; of equal ones the first by name. A combiner's call is charged to its first feature.

        Args:
            most: largest number of features.
            budget: largest sum of microseconds; infinity for no limit.
        """
        chosen: dict[Feature, float] = {}
        left = set(range(len(self.features)))
        while left and len(chosen) < most:
            called, spent = {feature.call for feature in chosen}, sum(chosen.values())
            candidates = []
            for position in sorted(left):
                cost = self._cost(self.features[position], called)
                if cost <= budget - spent:
                    value = self._relevance(self.features[position]) / (cost / budget + 1 / most)
                    candidates.append((value, -position, cost))
            if not candidates:
                break
            _, position, cost = max(candidates)
            chosen[self.features[-position]] = cost
            left = {
                other for other in left if other != -position and self._correlation[-position, other] <= MAX_CORRELATION
            }
        return chosen

    def _relevance(self, feature: Feature) -> float:
        return -math.log10(max(self.p_values[feature.name], MIN_P_VALUE))

    def _cost(self, feature: Feature, called: set[tuple[str, str]]) -> float:
        return self.costs.microseconds(feature.suffix, self.steps, first=feature.call not in called)
