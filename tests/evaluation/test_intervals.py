from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from small_samples import frame, labels_and_predictions, task_of

from mlops_assets.evaluation.intervals import block_bootstrap, block_bootstrap_rows, difference_interval
from mlops_assets.evaluation.metrics import Predicted, predicted_loss
from mlops_assets.spec.problem import Metric

DAY = timedelta(days=1)


def hours(count: int) -> np.ndarray:
    return frame([0.0] * count)["event_time"].to_numpy(dtype="datetime64[ns]")


def test_interval_excludes_zero_only_when_there_is_a_difference() -> None:
    rng = np.random.default_rng(0)
    a, noise = rng.gamma(2, 10, 336), rng.normal(0, 3, 336)
    interval = block_bootstrap(hours(336), a, a + noise - 2, DAY, seed=1)
    assert interval is not None
    assert 0 < interval[0] < 2 - noise.mean() < interval[1]
    nothing = block_bootstrap(hours(336), a, a + noise - noise.mean(), DAY, seed=1)
    assert nothing is not None
    assert nothing[0] < 0 < nothing[1]


def test_interval_does_not_depend_on_the_order_of_rows() -> None:
    rng = np.random.default_rng(0)
    a, b, order = rng.random(336), rng.random(336), rng.permutation(336)
    first = block_bootstrap(hours(336), a, b, DAY, seed=1)
    assert first == block_bootstrap(hours(336), a, b, DAY, seed=1)
    assert first == pytest.approx(block_bootstrap(hours(336)[order], a[order], b[order], DAY, seed=1))
    assert first != block_bootstrap(hours(336), a, b, DAY, seed=2)


def test_blocks_of_a_day_widen_the_interval_of_daily_errors() -> None:
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


def test_one_block_gives_no_interval() -> None:
    assert block_bootstrap(hours(24), np.ones(24), np.zeros(24), DAY, seed=1) is None
    assert block_bootstrap_rows(hours(24), lambda rows: 1.0, DAY, seed=1) is None


@pytest.mark.parametrize("metric", ["mae", "rmse", "accuracy", "log_loss"])
def test_vectorised_bootstrap_equals_the_metric_of_each_draw(metric: Metric) -> None:
    labels, a, classes = labels_and_predictions(task_of(metric), 336)
    b = labels_and_predictions(task_of(metric), 336, seed=1)[1] if classes else Predicted(labels + 5)
    fast = difference_interval(metric, hours(336), labels, a, b, block=DAY, seed=4, classes=classes, draws=100)

    def difference(rows: np.ndarray) -> float:
        of = [predicted_loss(metric, labels[rows], each.take(rows), classes) for each in (a, b)]
        return of[0] - of[1]

    assert fast == pytest.approx(block_bootstrap_rows(hours(336), difference, DAY, seed=4, draws=100))


@pytest.mark.parametrize("metric", ["median_ae", "f1", "roc_auc"])
def test_metrics_that_are_not_a_mean_have_an_interval(metric: Metric) -> None:
    labels, a, classes = labels_and_predictions(task_of(metric), 336)
    worse = Predicted(a.value[::-1].copy(), None if a.probabilities is None else a.probabilities[::-1].copy())
    found = difference_interval(metric, hours(336), labels, worse, a, block=DAY, seed=4, classes=classes, draws=60)
    assert found is not None
    point = predicted_loss(metric, labels, worse, classes) - predicted_loss(metric, labels, a, classes)
    assert found[0] <= point <= found[1]
