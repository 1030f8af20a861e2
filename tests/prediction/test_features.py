from __future__ import annotations

import json
import threading
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_project import bike_windows

from mlops_assets.prediction.features import (
    FeatureDefinitions,
    compute,
    feature_name,
    fill_missing,
    plan,
    to_frame,
)
from mlops_assets.prediction.inputs import Inputs, from_records, to_records
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.prediction.tsfresh_import import import_tsfresh

STEPS = 168
SELECTED = [
    "mean",
    "median",
    "skewness",
    "kurtosis",
    "quantile__q_0.1",
    "autocorrelation__lag_9",
    "number_peaks__n_3",
    'fft_coefficient__attr_"abs"__coeff_7',
    'fft_coefficient__attr_"angle"__coeff_14',
    "cwt_coefficients__coeff_3__w_5__widths_(2, 5, 10, 20)",
    "cwt_coefficients__coeff_11__w_20__widths_(2, 5, 10, 20)",
    "ar_coefficient__coeff_1__k_10",
    "partial_autocorrelation__lag_8",
    'agg_linear_trend__attr_"slope"__chunk_len_50__f_agg_"mean"',
    'linear_trend__attr_"stderr"',
    "energy_ratio_by_chunks__num_segments_10__segment_focus_3",
    "index_mass_quantile__q_0.9",
    "spkt_welch_density__coeff_5",
    'change_quantiles__f_agg_"var"__isabs_True__qh_0.4__ql_0.2',
    "permutation_entropy__dimension_5__tau_1",
    "range_count__max_1000000000000.0__min_0",
    "value_count__value_-1",
]
DEFINITIONS = FeatureDefinitions(calculators={"cnt": SELECTED})
SCHEMA = InputSchema(project="bike", task="regression", target="cnt", history=["cnt"], steps=STEPS)


def inputs_of(windows: np.ndarray[Any, Any]) -> Inputs:
    times = np.datetime64("2011-01-01", "ns") + np.arange(len(windows)) * np.timedelta64(1, "h")
    return Inputs(times, None, {}, {"cnt": windows})


def gappy(count: int) -> np.ndarray[Any, Any]:
    """Return windows of real data: some lack values at the beginning, middle or end, one is empty, one is constant."""
    windows = bike_windows(count).copy()
    windows[3, :5] = windows[4, 100:] = windows[5, 50:60] = np.nan
    windows[6], windows[7] = np.nan, 12.0
    return windows


def test_training_and_service_compute_the_same_bits() -> None:
    inputs = inputs_of(gappy(200))
    training = compute(DEFINITIONS, inputs)
    requests = [json.loads(json.dumps(record, allow_nan=False)) for record in to_records(inputs, SCHEMA)]
    service = np.vstack([compute(DEFINITIONS, from_records([request], SCHEMA)) for request in requests])
    assert training.shape == (200, len(SELECTED))
    assert training.tobytes() == service.tobytes()


def test_features_equal_tsfreshs_own_extraction() -> None:
    import_tsfresh()
    from tsfresh import extract_features
    from tsfresh.feature_extraction.settings import from_columns

    windows = bike_windows(200)
    names = [f"cnt__{suffix}" for suffix in SELECTED]
    long = pd.DataFrame(
        {"id": np.repeat(np.arange(200), STEPS), "step": np.tile(np.arange(STEPS), 200), "cnt": windows.ravel()}
    )
    extracted = extract_features(
        long,
        column_id="id",
        column_sort="step",
        kind_to_fc_parameters=from_columns(names),
        n_jobs=0,
        disable_progressbar=True,
        show_warnings=False,
    )
    np.testing.assert_allclose(compute(DEFINITIONS, inputs_of(windows)), extracted[names], rtol=1e-9, atol=1e-9)


def test_missing_values_are_filled_forward_then_backward() -> None:
    nan = np.nan
    windows = np.array([[nan, 1, nan, nan, 4], [1, 2, 3, 4, nan], [nan] * 5, [1, 2, 3, 4, 5]])
    wanted = np.array([[1, 1, 1, 1, 4], [1, 2, 3, 4, 4], [nan] * 5, [1, 2, 3, 4, 5]])
    assert np.array_equal(fill_missing(windows), wanted, equal_nan=True)


def test_features_of_an_empty_window_are_missing() -> None:
    matrix = compute(DEFINITIONS, inputs_of(gappy(10)))
    assert np.isnan(matrix[6]).all()
    assert np.isfinite(matrix[[0, 3, 5, 8]]).all()


def test_feature_that_cannot_be_computed_is_missing() -> None:
    short = FeatureDefinitions(calculators={"cnt": ["mean", "ar_coefficient__coeff_1__k_10", "skewness"]})
    matrix = compute(short, inputs_of(np.array([[5.0, 5.0], [1.0, 2.0]])))
    assert matrix[:, 0].tolist() == [5.0, 1.5]
    assert np.isnan(matrix[:, 1:]).all()


def test_combiner_is_called_once() -> None:
    suffixes = [f'fft_coefficient__attr_"real"__coeff_{number}' for number in range(20)] + [
        "mean",
        "ar_coefficient__coeff_0__k_10",
    ]
    calls = plan(tuple(suffixes))
    assert [call.function.__name__ for call in calls] == ["fft_coefficient", "mean", "ar_coefficient"]
    assert len(calls[0].parameters or []) == 20


def test_the_order_of_features_does_not_change_their_values() -> None:
    inputs = inputs_of(bike_windows(20))
    backwards = FeatureDefinitions(calculators={"cnt": SELECTED[::-1]})
    assert compute(DEFINITIONS, inputs).tobytes() == compute(backwards, inputs)[:, ::-1].tobytes()


def test_concurrent_threads_compute_the_same_bits() -> None:
    inputs, found = inputs_of(gappy(30)), {}
    before = list(warnings.filters)

    def work(number: int) -> None:
        found[number] = compute(DEFINITIONS, inputs).tobytes()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found.values()) == {compute(DEFINITIONS, inputs).tobytes()}
    assert list(warnings.filters) == before


def test_feature_names_have_no_special_characters() -> None:
    name = feature_name("cnt", 'cwt_coefficients__coeff_3__w_5__widths_(2, 5, 10, 20)__f_"mean"')
    assert name == "cnt__cwt_coefficients__coeff_3__w_5__widths_2_5_10_20__f_mean"
    assert DEFINITIONS.names[:2] == ["cnt__mean", "cnt__median"]
    with pytest.raises(ValueError, match="same name"):
        FeatureDefinitions(known=["cnt__mean"], calculators={"cnt": ["mean"]})


def test_unknown_calculator_raises_value_error() -> None:
    for suffix in ("average", 'linear_trend_timewise__attr_"slope"', "set_property"):
        with pytest.raises((ValueError, AttributeError)):
            plan((suffix,))


def test_categories_are_codes_of_known_levels() -> None:
    inputs = Inputs(
        np.zeros(4, "datetime64[ns]"),
        None,
        {"sky": np.array(["rain", "clear", None, "rain"], dtype=object), "temp": np.array([1.0, np.nan, 2.0, 3.0])},
        {},
    )
    definitions = FeatureDefinitions(known=["sky", "temp"]).with_levels(inputs)
    assert definitions.levels == {"sky": ["clear", "rain"]}
    foreign = inputs.known | {"sky": np.array(["rain", "clear", None, "hail"], dtype=object)}
    matrix = compute(definitions, Inputs(inputs.event_time, None, foreign, {}))
    assert np.array_equal(matrix[:, 0], [1.0, 0.0, np.nan, np.nan], equal_nan=True)
    frame = to_frame(definitions, matrix)
    sky = [None if pd.isna(value) else value for value in frame["sky"]]
    assert sky == ["rain", "clear", None, None]
    assert list(frame["sky"].cat.categories) == ["clear", "rain"]
    assert frame["temp"].dtype == np.float64


def test_definitions_survive_json_and_one_row_takes_milliseconds() -> None:
    again = FeatureDefinitions.model_validate_json(DEFINITIONS.model_dump_json())
    cheap = FeatureDefinitions(calculators={"cnt": again.calculators["cnt"][:10]})
    one = inputs_of(bike_windows(1))
    taken = []
    for _ in range(50):
        start = time.thread_time()
        compute(cheap, one)
        taken.append(time.thread_time() - start)
    assert again == DEFINITIONS
    assert float(np.median(taken)) < 0.005
