from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_samples import CLASSES, START, frame, project

from mlops_assets.evaluation.baselines import baseline_predictions, seasonal_naive
from mlops_assets.evaluation.metrics import predicted_loss
from mlops_assets.spec.problem import Metric
from mlops_assets.timeline import Timeline


def test_seasonal_naive_is_the_value_exactly_one_season_before() -> None:
    spec = project()
    series = frame([float(i) for i in range(24 * 10)])
    events = series.iloc[48:].reset_index(drop=True)
    found = seasonal_naive(Timeline(spec), spec, series, events)
    np.testing.assert_array_equal(found, events["y"] - 48)


def test_missing_value_is_replaced_by_the_one_a_season_earlier() -> None:
    spec = project()
    series = frame([float(i) for i in range(24 * 10)])
    hole, event = series["event_time"][100], series["event_time"][148]
    events = pd.DataFrame({"event_time": [event, series["event_time"][10]]})
    for broken in (series[series["event_time"] != hole], series.assign(y=series["y"].where(series.index != 100))):
        found = seasonal_naive(Timeline(spec), spec, broken, events)
        assert found[0] == 52  # two seasons before
        assert np.isnan(found[1])  # nothing lies that far back


def test_value_not_known_when_due_is_not_used() -> None:
    # season 48h, horizon 24h: known when due as long as labels come within 23 hours
    spec, late = project(), project(baseline={"type": "seasonal_naive", "season": "96h"}, labels={"delay": "71h"})
    series = frame([float(i) for i in range(24 * 20)])
    events = series.iloc[300:301]
    assert seasonal_naive(Timeline(spec), spec, series, events)[0] == 252
    assert seasonal_naive(Timeline(late), late, series, events)[0] == 204
    # a horizon of 72 h, which the spec would not accept with this season: only an older value was known then
    early = Timeline(spec)
    early.horizon = timedelta(hours=72)
    assert seasonal_naive(early, spec, series, events)[0] == 204


@pytest.mark.parametrize("kind", ["seasonal_naive", "majority"])
@settings(max_examples=25, deadline=None)
@given(day=st.integers(3, 8), noise=st.sampled_from(CLASSES))
def test_future_values_do_not_change_a_baseline(kind: str, day: int, noise: str) -> None:
    baseline = {"type": kind} | ({"season": "48h"} if kind == "seasonal_naive" else {})
    spec = project("classification", baseline=baseline)
    timeline = Timeline(spec)
    rng = np.random.default_rng(3)
    series = frame(list(rng.choice(CLASSES, 24 * 10)))
    events = series.iloc[24 * day : 24 * day + 1].reset_index(drop=True)
    due = timeline.due(events["event_time"][0].to_pydatetime())
    known = series["event_time"] <= timeline.labelled_before(due)
    planted = series.assign(y=series["y"].where(known, noise))
    found = [
        baseline_predictions(spec, timeline, each, events, known_until=START + timedelta(days=10))
        for each in (series, planted, series[known])
    ]
    assert found[0].value[0] == found[1].value[0] == found[2].value[0]
    np.testing.assert_array_equal(found[0].probabilities, found[1].probabilities)


def test_seasonal_naive_uses_values_of_the_same_entity() -> None:
    spec = project(data={"entity": "shop"})
    series = pd.concat([frame([1.0] * 100, entity="a"), frame([2.0] * 100, entity="b")], ignore_index=True)
    events = pd.DataFrame({"event_time": [series["event_time"][90]] * 3, "entity": ["b", "a", "never seen"]})
    found = seasonal_naive(Timeline(spec), spec, series, events)
    np.testing.assert_array_equal(found, [2.0, 1.0, np.nan])


def test_majority_counts_labels_known_when_the_model_was_trained() -> None:
    spec = project("classification", baseline={"type": "majority"}, labels={"delay": "24h"})
    series = frame(["UP"] * 48 + ["DOWN"] * 100)
    events = frame(["UP"] * 3, start=START + timedelta(days=9))
    trained = START + timedelta(hours=48 + 25)
    found = baseline_predictions(spec, Timeline(spec), series, events, known_until=trained)
    assert list(found.value) == ["UP"] * 3
    assert found.probabilities is not None
    assert found.probabilities[0] == pytest.approx([50 / 51, 1 / 51], abs=0.02)
    later = baseline_predictions(spec, Timeline(spec), series, events, known_until=START + timedelta(days=9))
    assert list(later.value) == ["DOWN"] * 3


def test_majority_without_known_labels_has_no_prediction() -> None:
    spec = project("classification", baseline={"type": "majority"})
    found = baseline_predictions(spec, Timeline(spec), frame(["UP"]), frame(["UP"]), known_until=START)
    assert not found.present.any()


def test_of_equally_frequent_classes_the_first_by_name_is_predicted() -> None:
    spec = project("classification", baseline={"type": "majority"})
    events = frame(["UP"], start=START + timedelta(days=9))
    found = baseline_predictions(
        spec, Timeline(spec), frame(["UP", "DOWN"]), events, known_until=START + timedelta(days=8)
    )
    assert found.value[0] == "DOWN"


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "accuracy"])
def test_baseline_of_classes_has_a_finite_loss_in_every_metric(metric: Metric) -> None:
    spec = project("classification", metric=metric)
    series = frame(list(np.random.default_rng(0).choice(CLASSES, 24 * 20)))
    events = series.iloc[60:].reset_index(drop=True)
    found = baseline_predictions(spec, Timeline(spec), series, events, known_until=START + timedelta(days=20))
    assert np.isfinite(predicted_loss(metric, events["y"].to_numpy(), found, spec.classes))


def test_seasonal_naive_of_two_years_of_hours_takes_less_than_a_second() -> None:
    spec = project(baseline={"type": "seasonal_naive", "season": "168h"})
    series = frame([float(i) for i in range(17_500)])
    series = series[series.index % 7 != 0]
    began = datetime.now(tz=UTC)
    seasonal_naive(Timeline(spec), spec, series, series)
    assert datetime.now(tz=UTC) - began < timedelta(seconds=1)
