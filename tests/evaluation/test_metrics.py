from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from small_samples import CLASSES, labels_and_predictions, task_of

from mlops_assets.errors import ModelError, NotReady, SpecError
from mlops_assets.evaluation.metrics import Predicted, is_defined, loss, metric_value, predicted_loss, row_losses
from mlops_assets.spec.problem import GREATER_IS_BETTER, Metric


@pytest.mark.parametrize("metric", get_args(Metric))
def test_better_predictions_have_a_smaller_loss(metric: Metric) -> None:
    labels, poor, classes = labels_and_predictions(task_of(metric))
    value = labels.astype(poor.value.dtype)
    sure = None if classes is None else np.array([[float(name == label) for name in classes] for label in labels])
    assert predicted_loss(metric, labels, Predicted(value, sure), classes) < predicted_loss(
        metric, labels, poor, classes
    )
    assert predicted_loss(metric, labels, Predicted(value, sure), classes) == pytest.approx(0, abs=1e-12)


def test_losses_equal_the_metrics_of_scikit_learn() -> None:
    from sklearn import metrics

    labels, predicted, classes = labels_and_predictions("classification")
    assert predicted.probabilities is not None
    up = (labels == "UP").astype(int)
    assert loss("accuracy", labels, predicted.value) == 1 - metrics.accuracy_score(labels, predicted.value)
    expected = 1 - metrics.balanced_accuracy_score(labels, predicted.value)
    assert loss("balanced_accuracy", labels, predicted.value) == pytest.approx(expected)
    down = metrics.f1_score(labels, predicted.value, pos_label="DOWN")
    assert loss("f1", labels, predicted.value, classes=classes) == pytest.approx(1 - down)
    expected = metrics.log_loss(up, predicted.probabilities[:, 0])
    assert predicted_loss("log_loss", labels, predicted, classes) == pytest.approx(expected)
    expected = 1 - metrics.roc_auc_score(up, predicted.probabilities[:, 0])
    assert predicted_loss("roc_auc", labels, predicted, classes) == pytest.approx(expected)


def test_probabilities_are_in_the_projects_order_of_classes() -> None:
    labels = np.array(["up", "down", "same", "up"], dtype=object)
    sure = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    found = loss("log_loss", labels, labels, sure, ["up", "down", "same"])
    assert found == pytest.approx(-np.log(0.8))
    assert loss("roc_auc", labels, labels, sure, ["up", "down", "same"]) == 0


@pytest.mark.parametrize("metric", get_args(Metric))
def test_metric_value_is_on_the_metrics_own_scale(metric: Metric) -> None:
    assert metric_value(metric, 0.25) == (0.75 if metric in GREATER_IS_BETTER else 0.25)


@pytest.mark.parametrize("metric", get_args(Metric))
def test_loss_of_no_rows_raises_not_ready(metric: Metric) -> None:
    with pytest.raises(NotReady, match="no rows"):
        loss(metric, [], [], np.empty((0, 2)), CLASSES)


@pytest.mark.parametrize("metric", ["mae", "accuracy"])
def test_missing_label_or_prediction_raises_an_error(metric: Metric) -> None:
    gap = np.nan if metric == "mae" else None
    for values, prediction in ([[1.0, 2.0], [1.0, gap]], [[1.0, gap], [1.0, 2.0]]):
        with pytest.raises(ModelError, match="1 of 2 rows"):
            loss(metric, np.array(values, dtype=object), np.array(prediction, dtype=object))


def test_metric_of_probabilities_without_them_raises_an_error() -> None:
    with pytest.raises(ModelError, match="probability per class"):
        loss("log_loss", ["UP"], ["UP"], classes=CLASSES)


def test_f1_of_three_classes_raises_spec_error() -> None:
    with pytest.raises(SpecError, match="f1_macro"):
        loss("f1", ["a", "b"], ["a", "b"], classes=["a", "b", "c"])


def test_roc_auc_of_one_class_raises_not_ready() -> None:
    labels = np.array(["UP", "UP"], dtype=object)
    assert not is_defined("roc_auc", labels, CLASSES)
    assert is_defined("accuracy", labels, CLASSES)
    with pytest.raises(NotReady, match="each class"):
        loss("roc_auc", labels, labels, np.full((2, 2), 0.5), CLASSES)


@pytest.mark.parametrize("metric", get_args(Metric))
def test_mean_of_row_losses_is_the_loss(metric: Metric) -> None:
    labels, predicted, classes = labels_and_predictions(task_of(metric))
    rows = row_losses(metric, labels, predicted, classes)
    if rows is None:
        assert metric in ("median_ae", "balanced_accuracy", "f1", "f1_macro", "roc_auc")
        return
    mean = np.sqrt(rows.mean()) if metric == "rmse" else rows.mean()
    assert mean == pytest.approx(predicted_loss(metric, labels, predicted, classes))
