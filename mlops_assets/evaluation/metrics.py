"""Losses (smaller is better) of predictions against labels, for every metric that a ``defs.yaml`` may name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.errors import ModelError, NotReady, SpecError
from mlops_assets.spec.problem import GREATER_IS_BETTER, REGRESSION_METRICS, Metric

Floats = npt.NDArray[np.float64]
Values = npt.NDArray[Any]
"""(n,) numbers (float64) or class names (object)."""

NEEDS_PROBABILITIES = {"log_loss", "roc_auc"}


@dataclass(frozen=True)
class Predicted:
    """Predictions for n events.

    Attributes:
        value: (n,) float64 for regression, NaN where there is no prediction; or object (class names), None where there
            is no prediction.
        probabilities: (n, classes) float64 in the order of `ProjectSpec.classes`; None for regression.
    """

    value: Values
    probabilities: Floats | None = None

    def __len__(self) -> int:
        return len(self.value)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(n,) True where there is a prediction."""
        return np.asarray(~pd.isna(self.value), dtype=bool)

    def take(self, rows: npt.NDArray[Any]) -> Predicted:
        """Return the predictions of some rows, given as indices or as a mask."""
        return Predicted(self.value[rows], None if self.probabilities is None else self.probabilities[rows])


def loss(
    metric: Metric,
    labels: Sequence[Any] | Values,
    prediction: Sequence[Any] | Values,
    probabilities: Floats | None = None,
    classes: Sequence[str] | None = None,
) -> float:
    """Return a metric of scikit-learn as a loss: the metric itself, or 1 - metric where greater is better.

    Args:
        metric: its name in a ``defs.yaml``. `f1` is computed for the last class; `roc_auc` of more than two classes is
            the mean of one-versus-rest.
        labels: (n,) numbers in the target's unit, or class names.
        prediction: (n,) predicted numbers or class names; ignored by `log_loss` and `roc_auc`.
        probabilities: (n, classes), for `log_loss` and `roc_auc`.
        classes: the class names in the order of the columns of `probabilities`; for classification.

    Raises:
        NotReady: when there are no rows, or too few classes among them for `roc_auc` (see `is_defined`).
        ModelError: when a label or a prediction is missing, or probabilities are needed and not given.
        SpecError: when `f1` is computed for other than two classes.
    """
    labels, prediction = np.asarray(labels), np.asarray(prediction)
    _require_rows(metric, labels, prediction, probabilities)
    if metric in REGRESSION_METRICS:
        value = _regression_value(metric, labels.astype(float), prediction.astype(float))
    else:
        value = _classification_value(metric, labels, prediction, probabilities, list(classes or []))
    return 1.0 - value if metric in GREATER_IS_BETTER else value


def predicted_loss(metric: Metric, labels: Values, predicted: Predicted, classes: Sequence[str] | None = None) -> float:
    """Return the `loss` of a `Predicted`; it raises the same errors."""
    return loss(metric, labels, predicted.value, predicted.probabilities, classes)


def row_losses(
    metric: Metric, labels: Values, predicted: Predicted, classes: Sequence[str] | None = None
) -> Floats | None:
    """Return (n,) losses whose mean is the loss (for `rmse`, its square); None for metrics without such row losses."""
    if metric in ("mae", "mse", "rmse", "mape"):
        errors: Floats = np.abs(labels.astype(float) - predicted.value.astype(float))
        if metric == "mape":
            return np.asarray(errors / np.maximum(np.abs(labels.astype(float)), np.finfo(float).eps))
        return errors if metric == "mae" else np.square(errors)
    if metric == "accuracy":
        return np.asarray(labels.astype(str) != predicted.value.astype(str), dtype=np.float64)
    if metric == "log_loss" and predicted.probabilities is not None:
        column = pd.Index(classes or []).get_indexer(pd.Index(labels.astype(str)))
        probabilities = predicted.probabilities / predicted.probabilities.sum(axis=1, keepdims=True)
        eps = np.finfo(float).eps
        return np.asarray(-np.log(np.clip(probabilities[np.arange(len(labels)), column], eps, 1 - eps)))
    return None


def metric_value(metric: Metric, loss: float) -> float:
    """Return the metric's own value, as it is shown to people: a loss of 0.28 is an accuracy of 0.72."""
    return 1.0 - loss if metric in GREATER_IS_BETTER else loss


def is_defined(metric: Metric, labels: Values, classes: Sequence[str] | None = None) -> bool:
    """Return whether the metric has a value for these labels: `roc_auc` needs rows of each class, others one row."""
    if metric != "roc_auc":
        return len(labels) > 0
    return len(labels) > 0 and set(classes or []) <= {str(name) for name in labels}


def _require_rows(metric: str, labels: Values, prediction: Values, probabilities: Floats | None) -> None:
    place, rows = f"loss {metric}", len(labels)
    if rows == 0:
        raise NotReady(
            "-", place, "no rows, at least one is needed", "wait for labels of predicted events, or widen the time span"
        )
    if len(prediction) != rows:
        raise ModelError(
            "-", place, f"{len(prediction)} predictions for {rows} labels", "pass as many predictions as labels"
        )
    needs = metric in NEEDS_PROBABILITIES
    if needs and (probabilities is None or len(probabilities) != rows):
        raise ModelError("-", place, "a probability per class and row is needed", "pass `probabilities`")
    absent = np.isnan(probabilities).any(axis=1) if needs and probabilities is not None else pd.isna(prediction)
    missing = int(np.sum(absent | pd.isna(labels)))
    if missing:
        raise ModelError(
            "-", place, f"{missing} of {rows} rows lack a label or a prediction", "leave these rows out before the call"
        )


def _regression_value(metric: str, labels: Floats, prediction: Floats) -> float:
    from sklearn import metrics

    functions: dict[str, Callable[..., float]] = {
        "mae": metrics.mean_absolute_error,
        "mse": metrics.mean_squared_error,
        "rmse": metrics.root_mean_squared_error,
        "mape": metrics.mean_absolute_percentage_error,
        "median_ae": metrics.median_absolute_error,
    }
    return float(functions[metric](labels, prediction))


def _classification_value(
    metric: str, labels: Values, prediction: Values, probabilities: Floats | None, classes: list[str]
) -> float:
    from sklearn import metrics

    labels = labels.astype(str)
    if metric in NEEDS_PROBABILITIES and probabilities is not None:
        return _probability_value(metric, labels, probabilities, classes)
    prediction = prediction.astype(str)
    if metric == "accuracy":
        return float(metrics.accuracy_score(labels, prediction))
    if metric == "balanced_accuracy":
        # scikit-learn's `balanced_accuracy_score` is this, but warns when a class without a label is predicted
        present = np.unique(labels)
        return float(metrics.recall_score(labels, prediction, labels=present, average="macro", zero_division=0))
    if metric == "f1_macro":
        return float(metrics.f1_score(labels, prediction, average="macro", zero_division=0))
    if len(classes) != 2:
        raise SpecError("-", "problem.metric", f"f1 is for two classes, not {len(classes)}", "use f1_macro")
    return float(metrics.f1_score(labels, prediction, pos_label=classes[-1], labels=classes, zero_division=0))


def _probability_value(metric: str, labels: Values, probabilities: Floats, classes: list[str]) -> float:
    from sklearn import metrics

    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    order = np.argsort(classes)  # scikit-learn expects the classes, and so the columns, in sorted order
    names, columns = [classes[i] for i in order], probabilities[:, order]
    if metric == "log_loss":
        return float(metrics.log_loss(labels, columns, labels=names))
    if not is_defined("roc_auc", labels, classes):
        raise NotReady(
            "-", "loss roc_auc", f"rows of {sorted(set(labels))} only; each class is needed", "widen the time span"
        )
    if len(classes) == 2:
        return float(metrics.roc_auc_score(labels == classes[-1], probabilities[:, -1]))
    return float(metrics.roc_auc_score(labels, columns, labels=names, multi_class="ovr"))
