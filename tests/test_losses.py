from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.errors import ModelError, NotReady, SpecError
from mlops_assets.evaluation.metrics import (
    Predicted,
    baseline_predictions,
    block_bootstrap,
    block_bootstrap_rows,
    difference_interval,
    is_defined,
    loss,
    majority,
    metric_value,
    predicted_loss,
    row_losses,
    seasonal_naive,
)
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.problem import GREATER_IS_BETTER, REGRESSION_METRICS, Metric
from mlops_assets.timeline import Timeline

START = datetime(2011, 1, 1, tzinfo=UTC)
CLASSES = ["UP", "DOWN"]


def project(task: str = "regression", **changes: Any) -> ProjectSpec:
    target: dict[str, Any] = {"dtype": "float"} if task == "regression" else {"dtype": "category", "isin": CLASSES}
    data = {"source": "a.read", "every": "1h", "start": "2011-01-01", "window": "day", "horizon": "24h"}
    data["columns"] = {"y": target, "x": {"dtype": "float"}}
    baseline = changes.pop("baseline", {"type": "seasonal_naive", "season": "48h"})
    return ProjectSpec.model_validate(
        {
            "name": "small",
            "problem": {
                "statement": "Something worth knowing.",
                "task": task,
                "target": "y",
                "metric": changes.pop("metric", "mae" if task == "regression" else "accuracy"),
                "baseline": baseline,
                "validation": {"holdout": "14d"},
            },
            "data": data | changes.pop("data", {}),
            "labels": changes.pop("labels", {}),
            "features": {"known": ["x"]},
            "serving": {"every": "1h"},
            "retraining": {"when": {"type": "age", "max": "90d"}, "cooldown": "28d"},
        }
    )


def frame(values: list[Any], start: datetime = START, entity: str | None = None) -> pd.DataFrame:
    times = pd.date_range(start, periods=len(values), freq="1h").astype("datetime64[ns, UTC]")
    made = pd.DataFrame({"event_time": times, "y": values})
    return made if entity is None else made.assign(entity=entity)


def answers(task: str, rows: int = 60, seed: int = 0) -> tuple[np.ndarray, Predicted, list[str] | None]:
    rng = np.random.default_rng(seed)
    if task == "regression":
        truth = rng.gamma(2, 50, rows)
        return truth, Predicted(truth + rng.normal(0, 10, rows)), None
    share = rng.dirichlet([1, 1], rows)
    names = np.array(CLASSES, dtype=object)
    return names[rng.integers(0, 2, rows)], Predicted(names[share.argmax(axis=1)], share), CLASSES


def task_of(metric: str) -> str:
    return "regression" if metric in REGRESSION_METRICS else "classification"


# Metrics


@pytest.mark.parametrize("metric", get_args(Metric))
def test_a_better_answer_has_a_smaller_loss_whatever_the_metrics_direction(metric: Metric) -> None:
    truth, poor, classes = answers(task_of(metric))
    value = truth.astype(poor.value.dtype)
    sure = None if classes is None else np.array([[float(name == label) for name in classes] for label in truth])
    assert predicted_loss(metric, truth, Predicted(value, sure), classes) < predicted_loss(metric, truth, poor, classes)
    assert predicted_loss(metric, truth, Predicted(value, sure), classes) == pytest.approx(0, abs=1e-12)


def test_losses_are_scikit_learns_metrics() -> None:
    from sklearn import metrics

    truth, forecast, classes = answers("classification")
    up = (truth == "UP").astype(int)
    assert loss("accuracy", truth, forecast.value) == 1 - metrics.accuracy_score(truth, forecast.value)
    expected = 1 - metrics.balanced_accuracy_score(truth, forecast.value)
    assert loss("balanced_accuracy", truth, forecast.value) == pytest.approx(expected)
    down = metrics.f1_score(truth, forecast.value, pos_label="DOWN")
    assert loss("f1", truth, forecast.value, classes=classes) == pytest.approx(1 - down)
    expected = metrics.log_loss(up, forecast.probabilities[:, 0])
    assert predicted_loss("log_loss", truth, forecast, classes) == pytest.approx(expected)
    expected = 1 - metrics.roc_auc_score(up, forecast.probabilities[:, 0])
    assert predicted_loss("roc_auc", truth, forecast, classes) == pytest.approx(expected)


def test_probabilities_go_by_the_projects_order_of_classes() -> None:
    truth = np.array(["up", "down", "same", "up"], dtype=object)
    sure = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    found = loss("log_loss", truth, truth, sure, ["up", "down", "same"])
    assert found == pytest.approx(-np.log(0.8))
    assert loss("roc_auc", truth, truth, sure, ["up", "down", "same"]) == 0


@pytest.mark.parametrize("metric", get_args(Metric))
def test_people_get_a_metric_on_its_own_scale(metric: Metric) -> None:
    assert metric_value(metric, 0.25) == (0.75 if metric in GREATER_IS_BETTER else 0.25)


@pytest.mark.parametrize("metric", get_args(Metric))
def test_a_loss_of_no_rows_is_refused(metric: Metric) -> None:
    with pytest.raises(NotReady, match="no rows"):
        loss(metric, [], [], np.empty((0, 2)), CLASSES)


@pytest.mark.parametrize("metric", ["mae", "accuracy"])
def test_a_missing_truth_or_answer_is_refused_rather_than_averaged(metric: Metric) -> None:
    gap = np.nan if metric == "mae" else None
    for truth, prediction in ([[1.0, 2.0], [1.0, gap]], [[1.0, gap], [1.0, 2.0]]):
        with pytest.raises(ModelError, match="1 of 2 rows"):
            loss(metric, np.array(truth, dtype=object), np.array(prediction, dtype=object))


def test_a_metric_of_probabilities_asks_for_them() -> None:
    with pytest.raises(ModelError, match="probability per class"):
        loss("log_loss", ["UP"], ["UP"], classes=CLASSES)


def test_f1_of_three_classes_is_refused() -> None:
    with pytest.raises(SpecError, match="f1_macro"):
        loss("f1", ["a", "b"], ["a", "b"], classes=["a", "b", "c"])


def test_roc_auc_of_one_class_is_undefined_and_says_so() -> None:
    truth = np.array(["UP", "UP"], dtype=object)
    assert not is_defined("roc_auc", truth, CLASSES)
    assert is_defined("accuracy", truth, CLASSES)
    with pytest.raises(NotReady, match="each class"):
        loss("roc_auc", truth, truth, np.full((2, 2), 0.5), CLASSES)


@pytest.mark.parametrize("metric", get_args(Metric))
def test_row_losses_average_to_the_loss(metric: Metric) -> None:
    truth, forecast, classes = answers(task_of(metric))
    rows = row_losses(metric, truth, forecast, classes)
    if rows is None:
        assert metric in ("median_ae", "balanced_accuracy", "f1", "f1_macro", "roc_auc")
        return
    mean = np.sqrt(rows.mean()) if metric == "rmse" else rows.mean()
    assert mean == pytest.approx(predicted_loss(metric, truth, forecast, classes))


# Baselines


def test_the_seasonal_naive_answer_is_the_value_exactly_one_season_before() -> None:
    spec = project()
    series = frame([float(i) for i in range(24 * 10)])
    events = series.iloc[48:].reset_index(drop=True)
    found = seasonal_naive(Timeline(spec), spec, series, events)
    np.testing.assert_array_equal(found, events["y"] - 48)


def test_a_missing_season_gives_way_to_the_one_before_and_at_last_to_nothing() -> None:
    spec = project()
    series = frame([float(i) for i in range(24 * 10)])
    hole, event = series["event_time"][100], series["event_time"][148]
    events = pd.DataFrame({"event_time": [event, series["event_time"][10]]})
    for broken in (series[series["event_time"] != hole], series.assign(y=series["y"].where(series.index != 100))):
        found = seasonal_naive(Timeline(spec), spec, broken, events)
        assert found[0] == 52  # two seasons before
        assert np.isnan(found[1])  # nothing lies that far back


def test_a_season_that_is_not_known_yet_when_due_is_not_used() -> None:
    # season 48h, horizon 24h: known when due as long as labels come within 23 hours
    spec, late = project(), project(baseline={"type": "seasonal_naive", "season": "96h"}, labels={"delay": "71h"})
    series = frame([float(i) for i in range(24 * 20)])
    events = series.iloc[300:301]
    assert seasonal_naive(Timeline(spec), spec, series, events)[0] == 252
    assert seasonal_naive(Timeline(late), late, series, events)[0] == 204
    # the same answer due half a season earlier than the spec could say: only an older value was known then
    early = Timeline(spec)
    early.horizon = timedelta(hours=72)
    assert seasonal_naive(early, spec, series, events)[0] == 204


@pytest.mark.parametrize("kind", ["seasonal_naive", "majority"])
@settings(max_examples=25, deadline=None)
@given(day=st.integers(3, 8), noise=st.sampled_from(CLASSES))
def test_a_planted_future_value_changes_no_baseline(kind: str, day: int, noise: str) -> None:
    baseline = {"type": kind} | ({"season": "48h"} if kind == "seasonal_naive" else {})
    spec = project("classification", baseline=baseline)
    timeline = Timeline(spec)
    rng = np.random.default_rng(3)
    series = frame(list(rng.choice(CLASSES, 24 * 10)))
    events = series.iloc[24 * day : 24 * day + 1].reset_index(drop=True)
    due = timeline.due(events["event_time"][0].to_pydatetime())
    known = series["event_time"].map(lambda stamp: timeline.label_known_at(stamp.to_pydatetime()) <= due)
    planted = series.assign(y=series["y"].where(known, noise))
    found = [
        baseline_predictions(spec, timeline, each, events, known_until=START + timedelta(days=10))
        for each in (series, planted, series[known])
    ]
    assert found[0].value[0] == found[1].value[0] == found[2].value[0]
    np.testing.assert_array_equal(found[0].probabilities, found[1].probabilities)


def test_the_seasonal_naive_answer_never_crosses_entities() -> None:
    spec = project(data={"entity": "shop"})
    series = pd.concat([frame([1.0] * 100, entity="a"), frame([2.0] * 100, entity="b")], ignore_index=True)
    events = pd.DataFrame({"event_time": [series["event_time"][90]] * 3, "entity": ["b", "a", "never seen"]})
    found = seasonal_naive(Timeline(spec), spec, series, events)
    np.testing.assert_array_equal(found, [2.0, 1.0, np.nan])


def test_the_majority_is_that_of_the_labels_known_when_the_model_was_trained() -> None:
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


def test_without_any_known_label_the_majority_has_no_answer() -> None:
    spec = project("classification", baseline={"type": "majority"})
    found = baseline_predictions(spec, Timeline(spec), frame(["UP"]), frame(["UP"]), known_until=START)
    assert not found.present.any()
    assert majority(pd.Series([None, None], dtype=object)) is None


def test_equally_frequent_classes_are_told_apart_by_name() -> None:
    assert majority(pd.Series(["UP", "DOWN", "UP", "DOWN"])) == "DOWN"
    spec = project("classification", baseline={"type": "majority"})
    events = frame(["UP"], start=START + timedelta(days=9))
    found = baseline_predictions(
        spec, Timeline(spec), frame(["UP", "DOWN"]), events, known_until=START + timedelta(days=8)
    )
    assert found.value[0] == "DOWN"


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "accuracy"])
def test_a_baseline_of_classes_has_a_finite_loss_in_every_metric(metric: Metric) -> None:
    spec = project("classification", metric=metric)
    series = frame(list(np.random.default_rng(0).choice(CLASSES, 24 * 20)))
    events = series.iloc[60:].reset_index(drop=True)
    found = baseline_predictions(spec, Timeline(spec), series, events, known_until=START + timedelta(days=20))
    assert np.isfinite(predicted_loss(metric, events["y"].to_numpy(), found, spec.classes))


def test_a_seasonal_naive_answer_for_two_years_of_hours_takes_less_than_a_second() -> None:
    spec = project(baseline={"type": "seasonal_naive", "season": "168h"})
    series = frame([float(i) for i in range(17_500)])
    series = series[series.index % 7 != 0]
    began = datetime.now(tz=UTC)
    seasonal_naive(Timeline(spec), spec, series, series)
    assert datetime.now(tz=UTC) - began < timedelta(seconds=1)


# Bootstrap

DAY = timedelta(days=1)


def hours(count: int) -> np.ndarray:
    return frame([0.0] * count)["event_time"].to_numpy(dtype="datetime64[ns]")


def test_a_clear_difference_lies_wholly_on_one_side_and_none_around_nothing() -> None:
    rng = np.random.default_rng(0)
    a, noise = rng.gamma(2, 10, 336), rng.normal(0, 3, 336)
    interval = block_bootstrap(hours(336), a, a + noise - 2, DAY, seed=1)
    assert interval is not None
    assert 0 < interval[0] < 2 - noise.mean() < interval[1]
    nothing = block_bootstrap(hours(336), a, a + noise - noise.mean(), DAY, seed=1)
    assert nothing is not None
    assert nothing[0] < 0 < nothing[1]


def test_the_interval_is_the_same_at_each_call_and_for_rows_in_any_order() -> None:
    rng = np.random.default_rng(0)
    a, b, order = rng.random(336), rng.random(336), rng.permutation(336)
    first = block_bootstrap(hours(336), a, b, DAY, seed=1)
    assert first == block_bootstrap(hours(336), a, b, DAY, seed=1)
    assert first == pytest.approx(block_bootstrap(hours(336)[order], a[order], b[order], DAY, seed=1))
    assert first != block_bootstrap(hours(336), a, b, DAY, seed=2)


def test_days_that_err_together_are_drawn_together() -> None:
    daily = np.repeat(np.random.default_rng(0).normal(1, 5, 14), 24)
    by_day = block_bootstrap(hours(336), daily, np.zeros(336), DAY, seed=1)
    by_hour = block_bootstrap(hours(336), daily, np.zeros(336), timedelta(hours=1), seed=1)
    assert by_day is not None
    assert by_hour is not None
    assert by_day[1] - by_day[0] > 3 * (by_hour[1] - by_hour[0])


def test_blocks_are_cut_by_time_across_all_entities() -> None:
    daily = np.repeat(np.random.default_rng(0).normal(1, 5, 14), 24)
    one = block_bootstrap(hours(336), daily, np.zeros(336), DAY, seed=1)
    twice = block_bootstrap(np.tile(hours(336), 2), np.tile(daily, 2), np.zeros(672), DAY, seed=1)
    assert one == pytest.approx(twice)


def test_one_block_says_nothing() -> None:
    assert block_bootstrap(hours(24), np.ones(24), np.zeros(24), DAY, seed=1) is None
    assert block_bootstrap_rows(hours(24), lambda rows: 1.0, DAY, seed=1) is None


@pytest.mark.parametrize("metric", ["mae", "rmse", "accuracy", "log_loss"])
def test_the_vectorised_bootstrap_equals_computing_the_metric_of_each_draw(metric: Metric) -> None:
    truth, a, classes = answers(task_of(metric), 336)
    b = answers(task_of(metric), 336, seed=1)[1] if classes else Predicted(truth + 5)
    fast = difference_interval(metric, hours(336), truth, a, b, block=DAY, seed=4, classes=classes, draws=100)

    def difference(rows: np.ndarray) -> float:
        of = [predicted_loss(metric, truth[rows], each.take(rows), classes) for each in (a, b)]
        return of[0] - of[1]

    assert fast == pytest.approx(block_bootstrap_rows(hours(336), difference, DAY, seed=4, draws=100))


@pytest.mark.parametrize("metric", ["median_ae", "f1", "roc_auc"])
def test_metrics_that_are_no_mean_have_an_interval_too(metric: Metric) -> None:
    truth, a, classes = answers(task_of(metric), 336)
    worse = Predicted(a.value[::-1].copy(), None if a.probabilities is None else a.probabilities[::-1].copy())
    found = difference_interval(metric, hours(336), truth, worse, a, block=DAY, seed=4, classes=classes, draws=60)
    assert found is not None
    point = predicted_loss(metric, truth, worse, classes) - predicted_loss(metric, truth, a, classes)
    assert found[0] <= point <= found[1]
