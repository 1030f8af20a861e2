"""The choice among relevant features: most relevance for the share of places and computing time that they take."""

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
DOUBLE = 0.98
"""Absolute correlation from which a feature says what a chosen one says already."""
NAN_AT_MOST = 0.2
"""Share of a sample in which a feature may be missing."""
SMALLEST = 1e-300


@dataclass(frozen=True)
class Feature:
    """One tsfresh feature of one history column."""

    name: str
    column: str
    suffix: str
    """Its name by tsfresh, without the column."""

    @property
    def call(self) -> tuple[str, str]:
        """What it is computed by: features with the same call share its cost, where the calculator is a combiner."""
        return self.column, parse_suffix(self.suffix)[0]


def relevant(frame: pd.DataFrame, target: npt.NDArray[Any], task: Task, fdr: float) -> dict[str, float]:
    """The columns that pass tsfresh's relevance test, with their p-values.

    Missing values are imputed as tsfresh does, for the test alone; columns missing in more than a fifth of the rows
    do not take part.

    Args:
        frame: (n, k) features.
        target: (n,) numbers, or class names.
        task: which of both.
        fdr: false discovery rate (Benjamini-Yekutieli).
    """
    import_tsfresh()
    from tsfresh.feature_selection.relevance import calculate_relevance_table
    from tsfresh.utilities.dataframe_functions import impute

    frame = frame.loc[:, frame.isna().mean() <= NAN_AT_MOST].reset_index(drop=True)
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
    # of several classes that of the one it tells apart best
    p_values = passed.filter(like="p_value").min(axis=1).astype(np.float64)
    return dict(zip(passed["feature"], p_values, strict=True))


class Pool:
    """The relevant features.

    Args:
        features: those that passed the test.
        p_values: of each, by name.
        values: (n, k) their values on the sample, columns by name.
        costs: what each calculator costs.
        steps: length of a history window.
    """

    def __init__(
        self, features: list[Feature], p_values: dict[str, float], values: pd.DataFrame, costs: CostTable, steps: int
    ) -> None:
        self.features, self.costs, self.steps = sorted(features, key=lambda f: f.name), costs, steps
        self.p_values = p_values
        names = [feature.name for feature in self.features]
        self._correlation = values[names].corr().abs().fillna(0.0).to_numpy() if names else np.empty((0, 0))

    def choose(self, most: int, budget: float) -> dict[Feature, float]:
        """The chosen features in order of choice, with the microseconds that each adds.

        Each time the one with the most relevance (-log10 p) for its shares of both scarce things, places and budget;
        of equal ones the first by name. A combiner is paid for by the first feature that it gives.

        Args:
            most: places.
            budget: microseconds; infinity where computing costs nothing.
        """
        chosen: dict[Feature, float] = {}
        left = set(range(len(self.features)))
        while left and len(chosen) < most:
            called, spent = {feature.call for feature in chosen}, sum(chosen.values())
            offers = []
            for position in sorted(left):
                cost = self._cost(self.features[position], called)
                if cost <= budget - spent:
                    worth = self._relevance(self.features[position]) / (cost / budget + 1 / most)
                    offers.append((worth, -position, cost))
            if not offers:
                break
            _, position, cost = max(offers)
            chosen[self.features[-position]] = cost
            left = {other for other in left if other != -position and self._correlation[-position, other] <= DOUBLE}
        return chosen

    def _relevance(self, feature: Feature) -> float:
        return -math.log10(max(self.p_values[feature.name], SMALLEST))

    def _cost(self, feature: Feature, called: set[tuple[str, str]]) -> float:
        return self.costs.of(feature.suffix, self.steps, first=feature.call not in called)
