"""Select tsfresh features: relevant, not redundant, and within a budget of computing time per prediction."""

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
from mlops_assets.modeling.relevance import Feature, RelevantFeatures, Task, relevance_p_values
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
"""A calculator counts as slow when one feature of it takes more than this share of the budget."""
SLOW_STEP = 3
"""Slow calculators are run on every third row of the sample."""
SEED = 0
FIT_SHARE = 0.7
FOLDS = 5


@dataclass(frozen=True)
class Sample:
    """Rows for the relevance test: n inputs with their targets, sorted by time."""

    inputs: Inputs
    target: npt.NDArray[Any]
    task: Task

    def every_third_row(self) -> Sample:
        """Return every third row, for slow calculators."""
        rows = np.arange(0, len(self.inputs), SLOW_STEP)
        return Sample(self.inputs.take(rows), self.target[::SLOW_STEP], self.task)

    def compute(self, features: list[Feature]) -> pd.DataFrame:
        """Return the (n, k) values of features, columns by name."""
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
    """Select a project's features on rows before the hold-out.

    1. A sample of the rows, spread over all of them, is run through all calculators of the project. Slow calculators,
       with more than a quarter of `select.budget` for one feature, are run on every third row of the sample, so that
       their features must be more clearly relevant.
    2. Relevance is tested against the part of the target that known columns and lags leave unexplained
       (`unexplained_by_known`), since features must add to them. Features that are missing in more than a fifth of the
       rows are dropped, and those that do not pass tsfresh's relevance test (Benjamini-Yekutieli at `select.fdr`; slow
       and other features are tested separately).
    3. Of the rest, at most `select.most` features within the budget are selected one after the other: the next one has
       the highest relevance (-log10 p) for its shares of both limits. Features whose correlation with a selected one
       exceeds 0.98 are dropped. A calculator that returns several features in one call is charged to the first.

    The loss due to the budget is measured on the sample: a boosted-tree model (scikit-learn, defaults) is fitted on its
    oldest 70 % and evaluated on the rest, with the selected features and with those that would be selected without a
    budget. It is the mean absolute error, or the share of wrong classes.

    Costs come from a table that was measured once (`benchmarks/calculator_costs.py`) and not from a clock, since the
    same rows must give the same features, also on a busy machine.

    Args:
        features: the project's section `features`.
        inputs: n rows before the hold-out, sorted by time.
        target: (n,) floats for regression, class names for classification.
        task: the project's task.
        lags: positions of the declared lags, from `Timeline.lags`; they are features without a test.

    Raises:
        TrainingError: when tsfresh or the cost table does not know a calculator, or there is no feature at all.
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
    """Return the part of the target that known columns and lags do not explain; relevance is tested against it.

    When relevance is tested against the target itself, the first features are dozens of noisy copies of the time of
    day, which known columns contain already, and they raise the loss. On the bike data, as of 2011-04-02 on the
    following hold-out, the mean absolute error was 29.1 with features relevant for the target, and 21.7 with known
    columns alone.

    Each row is predicted by extremely randomized trees (scikit-learn) fitted on the other four fifths of the time.

    Returns:
        (n,) residuals; for classification indicator - probability, one array per class (of two classes, for the second
        only).
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
    slow = [feature for feature in candidates if costs.microseconds(feature.suffix, steps, first=True) > SLOW * budget]
    quick = [feature for feature in candidates if feature not in set(slow)]
    values, slow_values = sample.compute(quick), sample.every_third_row().compute(slow)
    p_values: dict[str, float] = {}
    for part in unexplained:
        for name, p_value in [
            *relevance_p_values(values, part, "regression", select.fdr).items(),
            *relevance_p_values(slow_values, part[::SLOW_STEP], "regression", select.fdr).items(),
        ]:
            p_values[name] = min(p_value, p_values.get(name, 1.0))
    relevant_features = RelevantFeatures(
        [feature for feature in candidates if feature.name in p_values],
        p_values,
        pd.concat([values.iloc[::SLOW_STEP].reset_index(drop=True), slow_values], axis=1),
        costs,
        steps,
    )
    within = relevant_features.choose(select.most, budget)
    unlimited = relevant_features.choose(select.most, math.inf)
    loss = None
    if within.keys() != unlimited.keys():
        chosen_slow = sample.compute([feature for feature in {**within, **unlimited} if feature in set(slow)])
        loss = _budget_loss(sample, known, pd.concat([values, chosen_slow], axis=1), within, unlimited)
    return _definitions(known, p_values, within, unlimited, loss)


def sample_rows(inputs: Inputs, size: int) -> npt.NDArray[np.int64]:
    """Return up to `size` positions: one row drawn from each of as many equal stretches; the same in each call.

    Rows are drawn, since evenly spaced rows of a series with a daily rhythm may all be of the same hour. Rows with more
    than half of a feature window missing (at the beginning of a series) are not drawn if there are others.
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
    # it needs timestamps, and equals linear_trend on a regular grid
    return {name: value for name, value in named.items() if name != "linear_trend_timewise"}


def _probe(windows: Floats) -> Floats:
    """Return a window from the middle of the rows, from which a combiner's feature names are read."""
    filled = fill_missing(windows)
    full = np.flatnonzero(~np.isnan(filled[:, -1]))
    window: Floats = filled[full[len(full) // 2]].copy() if len(full) else np.zeros(windows.shape[1])
    return window


def _suffixes(calculator: str, parameters: list[dict[str, Any]] | None, window: Floats) -> Iterator[str]:
    """Yield the names that tsfresh gives a calculator's features, without the column."""
    import_tsfresh()
    from tsfresh.feature_extraction import feature_calculators
    from tsfresh.utilities.string_manipulation import convert_to_output_format

    function = getattr(feature_calculators, calculator, None)
    if function is None or not hasattr(function, "fctype") or hasattr(function, "index_type"):
        raise TrainingError(
            "-",
            f"features.calculators.{calculator}",
            "tsfresh has no such calculator that works on plain windows",
            "use a name from tsfresh's list of feature calculators, or minimal, efficient or comprehensive",
        )
    if function.fctype == "combiner":
        with quiet():
            # a combiner names its features itself, and may add parameters to the name
            keys = [str(key) for key, _ in function(window, param=parameters)]
    else:
        keys = [convert_to_output_format(setting) for setting in parameters] if parameters else [""]
    yield from (f"{calculator}__{key}" if key else calculator for key in keys)


# Result


def _definitions(
    known: FeatureDefinitions,
    p_values: dict[str, float],
    within: dict[Feature, float],
    unlimited: dict[Feature, float],
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
            for feature, cost in unlimited.items()
            if feature not in within
        ],
        budget_loss=loss,
    )


def _budget_loss(
    sample: Sample,
    known: FeatureDefinitions,
    values: pd.DataFrame,
    within: dict[Feature, float],
    unlimited: dict[Feature, float],
) -> BudgetLoss:
    own = compute(known, sample.inputs)
    cut = int(len(sample.target) * FIT_SHARE)

    def loss(chosen: dict[Feature, float]) -> float:
        columns = np.column_stack([own, values[sorted(feature.name for feature in chosen)].to_numpy()])
        return _quick_loss(columns, sample.target, sample.task, cut)

    measure = "mean absolute error" if sample.task == "regression" else "share of wrong classes"
    newest, rows = len(sample.target) - cut, len(sample.target)
    return BudgetLoss(
        measure=f"{measure} of boosted trees on the newest {newest} of {rows} sampled rows",
        within=loss(within),
        without=loss(unlimited),
    )


def _quick_loss(columns: Floats, target: npt.NDArray[Any], task: Task, cut: int) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    labels = target.astype(np.float64 if task == "regression" else str)
    if task == "classification" and len(set(labels[:cut])) < 2:
        # the older rows have one class only, which is then predicted
        return round(float((labels[cut:] != labels[0]).mean()), 6)
    # scikit-learn raises an error for a column without any value, for example of a sensor that was added later
    columns = np.where(np.isnan(columns[:cut]).all(axis=0), 0.0, columns)
    model = (HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier)(
        random_state=SEED
    )
    # with so few rows, threads would wait for each other, on busy cores for seconds
    with threadpool_limits(1):
        found = model.fit(columns[:cut], labels[:cut]).predict(columns[cut:])
    wrong = np.abs(found - labels[cut:]) if task == "regression" else found != labels[cut:]
    return round(float(wrong.mean()), 6)
