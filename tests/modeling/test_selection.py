from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from mlops_assets.errors import TrainingError
from mlops_assets.modeling.calculator_costs import read_costs
from mlops_assets.modeling.selection import sample_rows, select_features
from mlops_assets.prediction.features import FeatureDefinitions, compute
from mlops_assets.prediction.inputs import Inputs
from mlops_assets.prediction.tsfresh_import import import_tsfresh
from mlops_assets.spec.features import FeaturesSpec

STEPS = 48
QUICK: dict[str, list[dict[str, Any]] | None] = {
    "mean": None,
    "sum_values": None,
    "maximum": None,
    "minimum": None,
    "count_below_mean": None,
    "quantile": [{"q": 0.1}, {"q": 0.9}],
    "fft_coefficient": [{"coeff": k, "attr": "abs"} for k in range(4)],
}


def spec(calculators: Any = QUICK, **select: Any) -> FeaturesSpec:
    given = {"sample": 200, "fdr": 0.05, "most": 40, "budget": "1ms"} | select
    return FeaturesSpec.model_validate(
        {
            "known": ["temp"],
            "history": {"columns": ["load"], "length": "48h"},
            "calculators": calculators,
            "select": given,
        }
    )


def random_inputs(count: int = 400, seed: int = 0) -> Inputs:
    """Return windows whose level and spread change independently of each other."""
    random = np.random.default_rng(seed)
    level, spread = random.normal(10, 3, (count, 1)), random.uniform(1, 4, (count, 1))
    windows = level + spread * random.normal(size=(count, STEPS))
    times = np.datetime64("2011-01-01", "ns") + np.arange(count) * np.timedelta64(1, "h")
    return Inputs(times, None, {"temp": random.random(count)}, {"load": windows})


def level_of(inputs: Inputs) -> np.ndarray[Any, Any]:
    return inputs.history["load"].mean(axis=1) + np.random.default_rng(9).normal(0, 0.5, len(inputs))


def test_relevant_features_are_selected_and_others_are_not() -> None:
    inputs = random_inputs()
    found = select_features(spec(), inputs, level_of(inputs), "regression")
    assert found.known == ["temp"]
    assert "mean" in found.calculators["load"] or "sum_values" in found.calculators["load"]
    noise = np.random.default_rng(5).normal(size=len(inputs))
    assert select_features(spec(), inputs, noise, "regression").calculators == {}


def test_redundant_feature_is_not_selected() -> None:
    inputs = random_inputs()
    chosen = select_features(spec(), inputs, level_of(inputs), "regression").calculators["load"]
    # the sum is 48 times the mean, and the transform's zeroth coefficient its absolute value
    assert len({"mean", "sum_values", 'fft_coefficient__attr_"abs"__coeff_0'} & set(chosen)) == 1


def test_selection_does_not_depend_on_clock_or_random_state(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    inputs = random_inputs()
    state = np.random.get_state()[1].tolist()  # type: ignore[union-attr, index]
    first = select_features(spec(), inputs, level_of(inputs), "regression")
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    assert select_features(spec(), inputs, level_of(inputs), "regression") == first
    assert np.random.get_state()[1].tolist() == state  # type: ignore[union-attr, index]


def test_selection_respects_number_and_budget() -> None:
    inputs = random_inputs()
    target = level_of(inputs)
    assert len(select_features(spec(most=2), inputs, target, "regression").costs) == 2
    for budget in (20, 60, 1000):
        found = select_features(spec(budget=f"{budget}us"), inputs, target, "regression")
        assert list(found.costs) != []
        assert set(found.costs) == set(found.names) - {"temp"}
        assert sum(found.costs.values()) <= budget


def test_slow_feature_is_rejected_and_the_loss_of_the_budget_is_reported() -> None:
    inputs = random_inputs()
    calculators = {
        "count_above": [{"t": 10.0}],
        "ar_coefficient": [{"coeff": 0, "k": 10}],
        "agg_linear_trend": [{"attr": "intercept", "chunk_len": 5, "f_agg": "mean"}],
    }
    target = level_of(inputs)
    tight = select_features(spec(calculators, budget="100us"), inputs, target, "regression")
    assert tight.calculators == {"load": ["count_above__t_10.0"]}
    rejected = {item.name: item for item in tight.rejected_for_cost}
    slow = "load__agg_linear_trend__attr_intercept__chunk_len_5__f_agg_mean"
    assert rejected[slow].cost > 100
    assert rejected[slow].p_value < 0.05
    assert tight.budget_loss is not None
    assert tight.budget_loss.within > 0 and tight.budget_loss.without > 0
    assert "mean absolute error" in tight.budget_loss.measure
    rich = select_features(spec(calculators, budget="100ms"), inputs, target, "regression")
    assert slow.removeprefix("load__") in [suffix.replace('"', "") for suffix in rich.calculators["load"]]
    assert rich.rejected_for_cost == [] and rich.budget_loss is None


def test_first_feature_of_a_combiner_is_charged_with_its_call() -> None:
    inputs = random_inputs()
    target = np.abs(np.fft.rfft(inputs.history["load"]))[:, [1, 2, 3]].sum(axis=1)
    found = select_features(spec(), inputs, target, "regression")
    costs = sorted(cost for name, cost in found.costs.items() if "fft_coefficient" in name)
    table = read_costs().combiners["fft_coefficient"]
    assert len(costs) >= 2
    assert costs[-1] == pytest.approx(table.first[0], abs=0.1)
    assert costs[-2] == pytest.approx(table.each[0], abs=0.1)


@pytest.mark.parametrize("classes", [["UP", "DOWN"], ["UP", "DOWN", "STILL"]])
def test_features_that_separate_classes_are_selected(classes: list[str]) -> None:
    inputs = random_inputs()
    ranks = np.argsort(np.argsort(level_of(inputs))) * len(classes) // len(inputs)
    target = np.array(classes, dtype=object)[ranks]
    found = select_features(spec(most=2), inputs, target, "classification")
    assert {"mean", "sum_values", 'fft_coefficient__attr_"abs"__coeff_0'} & set(found.calculators["load"])
    one_class = np.array(["UP"] * len(inputs), dtype=object)
    assert select_features(spec(), inputs, one_class, "classification").calculators == {}


def test_feature_missing_in_more_than_a_fifth_of_the_rows_is_not_selected() -> None:
    calculators = {"autocorrelation": [{"lag": 1}]}
    definitions = FeatureDefinitions(calculators={"load": ["autocorrelation__lag_1"]})
    for missing, wanted in ((0.15, definitions.calculators), (0.3, {})):
        inputs = random_inputs()
        inputs.history["load"][:: round(1 / missing)] = 10.0  # constant: it has no autocorrelation
        target = np.nan_to_num(compute(definitions, inputs)[:, 0])
        assert select_features(spec(calculators), inputs, target, "regression").calculators == wanted


def test_without_history_only_known_columns_are_features() -> None:
    inputs = Inputs(np.zeros(3, "datetime64[ns]"), None, {"sky": np.array(["rain", "clear", None], dtype=object)}, {})
    features = FeaturesSpec.model_validate({"known": ["sky"]})
    found = select_features(features, inputs, np.array([1.0, 2.0, 3.0]), "regression")
    assert (found.names, found.levels) == (["sky"], {"sky": ["clear", "rain"]})


def test_no_feature_at_all_raises_training_error() -> None:
    inputs = random_inputs()
    bare = spec().model_copy(update={"known": []})
    with pytest.raises(TrainingError, match="no history feature is relevant"):
        select_features(bare, inputs, np.random.default_rng(5).normal(size=len(inputs)), "regression")


@pytest.mark.parametrize("calculators", [{"average": None}, {"linear_trend_timewise": [{"attr": "slope"}]}])
def test_unknown_calculator_raises_training_error(calculators: dict[str, Any]) -> None:
    inputs = random_inputs(60)
    with pytest.raises(TrainingError, match=next(iter(calculators))):
        select_features(spec(calculators), inputs, level_of(inputs), "regression")


def test_sample_is_spread_over_time_and_hours_of_the_day() -> None:
    inputs = random_inputs(30 + 24 * 100)
    inputs.history["load"][:30] = np.nan
    rows = sample_rows(inputs, 100)
    assert len(rows) == 100
    assert rows.min() >= 30
    assert np.abs(np.diff(rows) - 24).max() <= 24
    assert len(set((rows % 24).tolist())) > 15
    assert sample_rows(random_inputs(60), 100).tolist() == list(range(60))


def test_every_calculator_has_a_cost_that_grows_with_the_window() -> None:
    import_tsfresh()
    from tsfresh.feature_extraction.settings import ComprehensiveFCParameters
    from tsfresh.utilities.string_manipulation import convert_to_output_format

    table = read_costs()
    for calculator, parameters in ComprehensiveFCParameters().items():
        if calculator == "linear_trend_timewise":
            continue
        for setting in parameters or [{}]:
            suffix = f"{calculator}__{convert_to_output_format(setting)}" if setting else calculator
            assert table.microseconds(suffix, 168, first=True) > 0
    assert table.microseconds("sample_entropy", 168, first=True) < table.microseconds(
        "sample_entropy", 2000, first=True
    )
    own = table.microseconds("quantile__q_0.55", 168, first=True)
    assert own == max(
        table.microseconds(f"quantile__q_{q}", 168, first=True) for q in (0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9)
    )
    with pytest.raises(TrainingError, match=r"benchmarks/calculator_costs\.py"):
        table.model_copy(update={"simple": {}}).microseconds("mean", 168, first=True)


def test_all_features_of_the_efficient_setting_can_be_named_and_computed() -> None:
    inputs = random_inputs(60)
    features = spec("efficient", sample=30, budget="100ms")
    assert features.select.budget == timedelta(milliseconds=100)
    found = select_features(features, inputs, level_of(inputs), "regression")
    assert found.calculators["load"]
    assert compute(found, inputs).shape == (60, len(found.names))
