"""Which tsfresh features exist: relevant ones, without doubles, within a budget of computing per answer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.errors import TrainingError
from mlops_assets.modeling.calculator_costs import CostTable, read_costs
from mlops_assets.prediction.features import (
    BudgetLoss,
    FeatureDefinitions,
    FeatureMatrix,
    Rejected,
    compute,
    feature_name,
    fill_missing,
    parse_suffix,
    quiet,
)
from mlops_assets.prediction.inputs import Floats, Inputs
from mlops_assets.spec.features import FeaturesSpec

Task = Literal["regression", "classification"]
NAN_AT_MOST = 0.2
DOUBLE = 0.98
"""Absolute correlation from which a feature says what a chosen one says already."""
SEED = 0
FIT_SHARE = 0.7


def select_features(features: FeaturesSpec, inputs: Inputs, target: npt.NDArray[Any], task: Task) -> FeatureDefinitions:
    """Choose a project's features on rows before the hold-out.

    A sample of the rows, spread over all of them, is put through all calculators of the setting. Features that are
    missing in more than a fifth of it, or that tsfresh's relevance test does not pass (Benjamini-Yekutieli at
    `select.fdr`), fall away. The rest compete for two scarce things, the `select.most` places and the
    `select.budget` of computing per answer: the next one chosen is that with the most relevance (-log10 p) for the
    shares of both that it takes; those correlated by more than 0.98 with a chosen one are doubles and fall away. A
    calculator that gives several features in one call is paid for by the first of them. So a slow feature must be
    relevant in proportion to earn its place.

    What the budget costs in loss is measured on the sample: a boosted-tree model (scikit-learn, defaults) is fitted on
    the first 70 % of it in time and judged on the rest, once with the chosen features and once with those that would
    be chosen if computing were free; mean absolute error, or share of wrong classes.

    Costs come from a table that was measured once (`benchmarks/calculator_costs.py`), not from a clock: the same rows
    must give the same features, on a busy machine too.

    Args:
        features: what the project declares.
        inputs: n rows, sorted by time; the caller has cut them before the hold-out.
        target: (n,) floats for regression, class names for classification.
        task: the project's.

    Raises:
        TrainingError: when tsfresh or the cost table does not know a calculator, or nothing is left to learn from.
    """
    definitions = FeatureDefinitions(known=list(features.known)).with_levels(inputs)
    if features.history is None or features.select.most == 0:
        return _something(definitions)
    rows = sample_rows(inputs, features.select.sample)
    sample, truth = inputs.take(rows), target[rows]
    candidates = _candidates(features, sample)
    everything = definitions.model_copy(update={"calculators": candidates})
    matrix = compute(everything, sample)
    steps = next(iter(sample.history.values())).shape[1]
    pool = _relevant(everything, matrix, truth, task, features.select.fdr, steps)
    most, budget = features.select.most, features.select.budget / timedelta(microseconds=1)
    within, free = pool.choose(most, budget), pool.choose(most, math.inf)
    chosen = _definitions(definitions, pool, within, free)
    return _something(
        chosen.model_copy(update={"budget_loss": _budget_loss(everything, matrix, truth, task, within, free)})
    )


def _something(definitions: FeatureDefinitions) -> FeatureDefinitions:
    if not definitions.names:
        raise TrainingError(
            "-",
            "features",
            "no history feature is relevant for the target, and no known column is declared",
            "declare known columns, a longer history, more rows or a higher features.select.fdr",
        )
    return definitions


def sample_rows(inputs: Inputs, size: int) -> npt.NDArray[np.int64]:
    """Up to `size` positions, one drawn from each of as many equal stretches, always the same ones.

    Drawn, since evenly spaced rows of a series with a daily rhythm may all be of one hour. Rows whose history is half
    missing (a series' beginning) are passed over as long as there are others.
    """
    full = np.ones(len(inputs), dtype=bool)
    for values in inputs.history.values():
        full &= np.isnan(values).mean(axis=1) <= 0.5
    rows = np.flatnonzero(full) if full.any() else np.arange(len(inputs))
    if len(rows) <= size:
        return rows
    edges = np.linspace(0, len(rows), size + 1).astype(np.int64)
    return rows[np.random.default_rng(SEED).integers(edges[:-1], edges[1:])]


# Candidates


def _candidates(features: FeaturesSpec, sample: Inputs) -> dict[str, list[str]]:
    assert features.history is not None
    return {
        column: [suffix for name, value in _settings(features).items() for suffix in _suffixes(name, value, window)]
        for column, window in ((c, _probe(sample.history[c])) for c in features.history.columns)
    }


def _settings(features: FeaturesSpec) -> dict[str, list[dict[str, Any]] | None]:
    from tsfresh.feature_extraction import settings

    if isinstance(features.calculators, dict):
        return features.calculators
    named = {
        "minimal": settings.MinimalFCParameters,
        "efficient": settings.EfficientFCParameters,
        "comprehensive": settings.ComprehensiveFCParameters,
    }[features.calculators]()
    # This one asks for time stamps; on a grid it says what linear_trend says.
    return {name: value for name, value in named.items() if name != "linear_trend_timewise"}


def _probe(windows: Floats) -> Floats:
    filled = fill_missing(windows)
    full = np.flatnonzero(~np.isnan(filled[:, -1]))
    window: Floats = filled[full[len(full) // 2]].copy() if len(full) else np.zeros(windows.shape[1])
    return window


def _suffixes(calculator: str, parameters: list[dict[str, Any]] | None, window: Floats) -> Iterator[str]:
    """The names that tsfresh gives a calculator's features, without the column."""
    from tsfresh.feature_extraction import feature_calculators
    from tsfresh.utilities.string_manipulation import convert_to_output_format

    function = getattr(feature_calculators, calculator, None)
    if function is None or not hasattr(function, "fctype") or hasattr(function, "index_type"):
        raise TrainingError(
            "-", f"features.calculators.{calculator}", "tsfresh has no such calculator for plain windows", "drop it"
        )
    if function.fctype != "combiner":
        keys = [convert_to_output_format(setting) for setting in parameters] if parameters else [""]
    else:
        with quiet():
            # A combiner names its features itself, and may add parameters to the name.
            keys = [key for key, _ in function(window, param=parameters)]
    yield from (f"{calculator}__{key}" if key else calculator for key in keys)


# Relevance


@dataclass
class Pool:
    """The relevant features, for the choice among them."""

    names: list[str]
    column: dict[str, str]
    suffix: dict[str, str]
    p_values: dict[str, float]
    correlation: Floats
    """Absolute, (k, k)."""
    costs: CostTable
    steps: int

    def choose(self, most: int, budget: float) -> dict[str, float]:
        """The chosen features in order of choice, with the microseconds that each adds.

        Args:
            most: places.
            budget: microseconds; infinity where computing costs nothing.
        """
        chosen: dict[str, float] = {}
        called: set[tuple[str, str]] = set()
        left = dict.fromkeys(range(len(self.names)))
        while left and len(chosen) < most:
            offers = []
            for position in left:
                name = self.names[position]
                cost = self._cost(name, called)
                if cost <= budget - sum(chosen.values()):
                    offers.append((self._relevance(name) / (cost / budget + 1 / most), name, position, cost))
            if not offers:
                break
            _, name, position, cost = max(offers, key=lambda offer: (offer[0], offer[1]))
            chosen[name] = cost
            called.add((self.column[name], parse_suffix(self.suffix[name])[0]))
            left = {other: None for other in left if other != position and self.correlation[position, other] <= DOUBLE}
        return chosen

    def _relevance(self, name: str) -> float:
        return -math.log10(max(self.p_values[name], 1e-300))

    def _cost(self, name: str, called: set[tuple[str, str]]) -> float:
        calculator = parse_suffix(self.suffix[name])[0]
        return self.costs.of(self.suffix[name], self.steps, first=(self.column[name], calculator) not in called)


def _relevant(
    everything: FeatureDefinitions, matrix: FeatureMatrix, truth: npt.NDArray[Any], task: Task, fdr: float, steps: int
) -> Pool:
    """The features that tsfresh's relevance test passes."""
    from tsfresh.feature_selection.relevance import calculate_relevance_table
    from tsfresh.utilities.dataframe_functions import impute

    where = {feature_name(c, s): (c, s) for c, suffixes in everything.calculators.items() for s in suffixes}
    frame = pd.DataFrame(matrix, columns=everything.names)[list(where)]
    frame = frame.loc[:, frame.isna().mean() <= NAN_AT_MOST]
    classes, codes = np.unique(truth, return_inverse=True)
    table = pd.DataFrame(columns=["feature", "relevant"])
    if len(classes) > 1 and not frame.empty:
        with quiet():
            table = calculate_relevance_table(
                impute(frame),
                pd.Series(truth.astype(np.float64) if task == "regression" else codes),
                ml_task=task,
                multiclass=task == "classification" and len(classes) > 2,
                n_jobs=0,
                fdr_level=fdr,
            )
    passed = table[table["relevant"].astype(bool)]
    p_values = passed.filter(like="p_value").min(axis=1)
    names = sorted(passed["feature"])
    return Pool(
        names,
        {name: where[name][0] for name in names},
        {name: where[name][1] for name in names},
        dict(zip(passed["feature"], p_values.astype(float), strict=True)),
        np.abs(np.atleast_2d(np.corrcoef(frame[names].to_numpy(), rowvar=False))) if names else np.empty((0, 0)),
        read_costs(),
        steps,
    )


# Result


def _definitions(
    definitions: FeatureDefinitions, pool: Pool, within: dict[str, float], free: dict[str, float]
) -> FeatureDefinitions:
    calculators: dict[str, list[str]] = {}
    for name in sorted(within):
        calculators.setdefault(pool.column[name], []).append(pool.suffix[name])
    return FeatureDefinitions(
        known=definitions.known,
        levels=definitions.levels,
        calculators=calculators,
        costs={name: round(cost, 1) for name, cost in sorted(within.items())},
        p_values={name: pool.p_values[name] for name in pool.names},
        rejected_for_cost=[
            Rejected(name=name, p_value=pool.p_values[name], cost=round(cost, 1))
            for name, cost in sorted(free.items())
            if name not in within
        ],
    )


def _budget_loss(
    everything: FeatureDefinitions,
    matrix: FeatureMatrix,
    truth: npt.NDArray[Any],
    task: Task,
    within: dict[str, float],
    free: dict[str, float],
) -> BudgetLoss | None:
    if within.keys() == free.keys():
        return None
    measure = "mean absolute error" if task == "regression" else "share of wrong classes"
    fitted = int(len(truth) * FIT_SHARE)
    return BudgetLoss(
        measure=f"{measure} of boosted trees on the newest {len(truth) - fitted} of {len(truth)} sampled rows",
        within=_loss(everything, matrix, truth, task, [*everything.known, *within]),
        without=_loss(everything, matrix, truth, task, [*everything.known, *free]),
    )


def _loss(
    everything: FeatureDefinitions, matrix: FeatureMatrix, truth: npt.NDArray[Any], task: Task, names: list[str]
) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    columns = matrix[:, [everything.names.index(name) for name in sorted(names)]]
    fitted = int(len(truth) * FIT_SHARE)
    if task == "regression":
        model = HistGradientBoostingRegressor(random_state=SEED).fit(
            columns[:fitted], truth[:fitted].astype(np.float64)
        )
        return round(float(np.abs(model.predict(columns[fitted:]) - truth[fitted:]).mean()), 6)
    model = HistGradientBoostingClassifier(random_state=SEED).fit(columns[:fitted], truth[:fitted].astype(str))
    return round(float((model.predict(columns[fitted:]) != truth[fitted:]).mean()), 6)
