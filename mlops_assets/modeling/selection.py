"""Which tsfresh features exist: relevant ones, without doubles, within a budget of computing per answer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.errors import TrainingError
from mlops_assets.modeling.calculator_costs import read_costs
from mlops_assets.modeling.relevance import Feature, Pool, Task, relevant
from mlops_assets.prediction.features import (
    BudgetLoss,
    FeatureDefinitions,
    Rejected,
    compute,
    feature_name,
    fill_missing,
    quiet,
)
from mlops_assets.prediction.fields import Floats
from mlops_assets.prediction.inputs import Inputs
from mlops_assets.prediction.tsfresh_import import import_tsfresh
from mlops_assets.spec.features import FeaturesSpec

SLOW = 0.25
"""Share of the budget that a feature takes alone, above which its calculator counts as slow."""
THIN = 3
"""Slow calculators are tried on every third row of the sample."""
SEED = 0
FIT_SHARE = 0.7
FOLDS = 5


@dataclass(frozen=True)
class Sample:
    """Rows on which features are tried: n inputs with the targets to them, sorted by time."""

    inputs: Inputs
    target: npt.NDArray[Any]
    task: Task

    def thinned(self) -> Sample:
        """Every third row."""
        return Sample(self.inputs.take(np.arange(0, len(self.inputs), THIN)), self.target[::THIN], self.task)

    def features(self, features: list[Feature]) -> pd.DataFrame:
        """(n, k) values, columns by name."""
        calculators: dict[str, list[str]] = {}
        for feature in features:
            calculators.setdefault(feature.column, []).append(feature.suffix)
        definitions = FeatureDefinitions(calculators=calculators)
        return pd.DataFrame(compute(definitions, self.inputs), columns=definitions.names)


def select_features(
    features: FeaturesSpec,
    inputs: Inputs,
    target: npt.NDArray[Any],
    task: Task,
    lags: dict[str, dict[str, int]] | None = None,
) -> FeatureDefinitions:
    """Choose a project's features on rows before the hold-out.

    A sample of the rows, spread over all of them, is put through all calculators of the setting; slow ones, whose
    feature alone would take more than a quarter of `select.budget`, through every third row of it, so that their
    evidence must be the stronger. Relevance is tested against what known columns and lags leave unexplained of the
    target (`unexplained_by_known`): the features must add to them. Features that are missing in more than a fifth
    of the rows, or that tsfresh's relevance test does not pass (Benjamini-Yekutieli at `select.fdr`, slow and quick
    ones each for themselves), fall away. The rest compete for two scarce things, the `select.most` places and the
    budget of computing per answer: the next one chosen is that with the most relevance (-log10 p) for the shares of
    both that it takes; those correlated by more than 0.98 with a chosen one are doubles and fall away. A calculator
    that gives several features in one call is paid for by the first of them. So a slow feature must be relevant in
    proportion to earn its place.

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
        lags: the declared single values, as `Timeline.lags` places them; they are features without a test.

    Raises:
        TrainingError: when tsfresh or the cost table does not know a calculator, or nothing is left to learn from.
    """
    definitions = FeatureDefinitions(known=list(features.known), lags=lags or {}).with_levels(inputs)
    if features.history is not None and features.select.most:
        rows = sample_rows(inputs, features.select.sample)
        unexplained = [part[rows] for part in unexplained_by_known(definitions, inputs, target, task)]
        definitions = _select(features, definitions, Sample(inputs.take(rows), target[rows], task), unexplained)
    if not definitions.names:
        raise TrainingError(
            "-",
            "features",
            "no history feature is relevant for the target, and neither known columns nor lags are declared",
            "declare known columns or features.history.lags, a longer history, or a higher features.select.fdr",
        )
    return definitions


def unexplained_by_known(
    known: FeatureDefinitions, inputs: Inputs, target: npt.NDArray[Any], task: Task
) -> list[Floats]:
    """What known columns and lags leave unexplained of the target; relevance is tested against that.

    Tested against the target itself, whatever merely mirrors the time of day comes first: the known columns say that
    already, and as dozens of noisy copies it costs more in loss than it gives. Measured on the bike data, as of
    2011-04-02 on the following hold-out: 29.1 with features relevant for the target, 21.7 with the known columns alone.

    Each row is predicted by extremely randomized trees (scikit-learn) fitted on the other fifths of the time.

    Returns:
        (n,) residuals; for classification one per class (of two classes, for the second): indicator - probability.
    """
    if task == "regression":
        parts = [target.astype(np.float64)]
    else:
        names = sorted({str(name) for name in target})
        parts = [(target.astype(str) == name).astype(np.float64) for name in (names[1:] if len(names) == 2 else names)]
    if not known.names or len(inputs) < 2 * FOLDS:
        return parts
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.model_selection import KFold, cross_val_predict

    matrix = compute(known, inputs)
    model = ExtraTreesRegressor(100, min_samples_leaf=3, random_state=SEED)
    return [part - cross_val_predict(model, matrix, part, cv=KFold(FOLDS)) for part in parts]


def _select(
    features: FeaturesSpec, known: FeatureDefinitions, sample: Sample, unexplained: list[Floats]
) -> FeatureDefinitions:
    select, costs = features.select, read_costs()
    steps = next(iter(sample.inputs.history.values())).shape[1]
    budget = select.budget / timedelta(microseconds=1)
    candidates = list(_candidates(features, sample.inputs))
    slow = [feature for feature in candidates if costs.of(feature.suffix, steps, first=True) > SLOW * budget]
    quick = [feature for feature in candidates if feature not in set(slow)]
    values, thin = sample.features(quick), sample.thinned()
    thin_values = thin.features(slow)
    p_values: dict[str, float] = {}
    for part in unexplained:
        for name, p_value in [
            *relevant(values, part, "regression", select.fdr).items(),
            *relevant(thin_values, part[::THIN], "regression", select.fdr).items(),
        ]:
            p_values[name] = min(p_value, p_values.get(name, 1.0))
    pool = Pool(
        [feature for feature in candidates if feature.name in p_values],
        p_values,
        pd.concat([values.iloc[::THIN].reset_index(drop=True), thin_values], axis=1),
        costs,
        steps,
    )
    within, free = pool.choose(select.most, budget), pool.choose(select.most, math.inf)
    loss = None
    if within.keys() != free.keys():
        dear = sample.features([feature for feature in {**within, **free} if feature in set(slow)])
        loss = _budget_loss(sample, known, pd.concat([values, dear], axis=1), within, free)
    return _definitions(known, p_values, within, free, loss)


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


def _candidates(features: FeaturesSpec, inputs: Inputs) -> Iterator[Feature]:
    assert features.history is not None
    for column in features.history.columns:
        window = _probe(inputs.history[column])
        for calculator, parameters in _settings(features).items():
            for suffix in _suffixes(calculator, parameters, window):
                yield Feature(feature_name(column, suffix), column, suffix)


def _settings(features: FeaturesSpec) -> dict[str, list[dict[str, Any]] | None]:
    import_tsfresh()
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
    """A window from the middle, to learn the names of features from."""
    filled = fill_missing(windows)
    full = np.flatnonzero(~np.isnan(filled[:, -1]))
    window: Floats = filled[full[len(full) // 2]].copy() if len(full) else np.zeros(windows.shape[1])
    return window


def _suffixes(calculator: str, parameters: list[dict[str, Any]] | None, window: Floats) -> Iterator[str]:
    """The names that tsfresh gives a calculator's features, without the column."""
    import_tsfresh()
    from tsfresh.feature_extraction import feature_calculators
    from tsfresh.utilities.string_manipulation import convert_to_output_format

    function = getattr(feature_calculators, calculator, None)
    if function is None or not hasattr(function, "fctype") or hasattr(function, "index_type"):
        raise TrainingError(
            "-",
            f"features.calculators.{calculator}",
            "tsfresh has no such calculator that works on plain windows",
            "see tsfresh's list of feature calculators, or write minimal, efficient or comprehensive",
        )
    if function.fctype == "combiner":
        with quiet():
            # A combiner names its features itself, and may add parameters to the name.
            keys = [str(key) for key, _ in function(window, param=parameters)]
    else:
        keys = [convert_to_output_format(setting) for setting in parameters] if parameters else [""]
    yield from (f"{calculator}__{key}" if key else calculator for key in keys)


# Result


def _definitions(
    known: FeatureDefinitions,
    p_values: dict[str, float],
    within: dict[Feature, float],
    free: dict[Feature, float],
    loss: BudgetLoss | None,
) -> FeatureDefinitions:
    calculators: dict[str, list[str]] = {}
    for feature in sorted(within, key=lambda feature: feature.name):
        calculators.setdefault(feature.column, []).append(feature.suffix)
    return FeatureDefinitions(
        known=known.known,
        levels=known.levels,
        lags=known.lags,
        calculators=calculators,
        costs={feature.name: round(cost, 1) for feature, cost in within.items()},
        p_values=p_values,
        rejected_for_cost=[
            Rejected(name=feature.name, p_value=p_values[feature.name], cost=round(cost, 1))
            for feature, cost in free.items()
            if feature not in within
        ],
        budget_loss=loss,
    )


def _budget_loss(
    sample: Sample,
    known: FeatureDefinitions,
    values: pd.DataFrame,
    within: dict[Feature, float],
    free: dict[Feature, float],
) -> BudgetLoss:
    own = compute(known, sample.inputs)
    cut = int(len(sample.target) * FIT_SHARE)

    def loss(chosen: dict[Feature, float]) -> float:
        columns = np.column_stack([own, values[sorted(feature.name for feature in chosen)].to_numpy()])
        return _quick_loss(columns, sample.target, sample.task, cut)

    measure = "mean absolute error" if sample.task == "regression" else "share of wrong classes"
    judged, rows = len(sample.target) - cut, len(sample.target)
    return BudgetLoss(
        measure=f"{measure} of boosted trees on the newest {judged} of {rows} sampled rows",
        within=loss(within),
        without=loss(free),
    )


def _quick_loss(columns: Floats, target: npt.NDArray[Any], task: Task, cut: int) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    truth = target.astype(np.float64 if task == "regression" else str)
    if task == "classification" and len(set(truth[:cut])) < 2:
        # the older rows know one class, which is then the answer
        return round(float((truth[cut:] != truth[0]).mean()), 6)
    # a column without any value, as a sensor's that came later, is an error to scikit-learn, and says nothing
    columns = np.where(np.isnan(columns[:cut]).all(axis=0), 0.0, columns)
    model = (HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier)(
        random_state=SEED
    )
    # so few rows that threads would only wait for each other, on busy cores for seconds
    with threadpool_limits(1):
        found = model.fit(columns[:cut], truth[:cut]).predict(columns[cut:])
    wrong = np.abs(found - truth[cut:]) if task == "regression" else found != truth[cut:]
    return round(float(wrong.mean()), 6)
