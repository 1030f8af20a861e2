"""Metrics as losses (smaller is better), naive baselines, and how sure a difference of two losses is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.errors import ModelError, NotReady, SpecError
from mlops_assets.spec.problem import GREATER_IS_BETTER, REGRESSION_METRICS, Metric, SeasonalNaiveBaseline
from mlops_assets.spec.project import ProjectSpec
from mlops_assets.timeline import Timeline, Times, as_datetime64

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Values = npt.NDArray[Any]

NEEDS_PROBABILITIES = {"log_loss", "roc_auc"}


@dataclass(frozen=True)
class Predicted:
    """What was predicted for n events.

    Attributes:
        value: (n,) float64 for regression, with NaN, or object (class names), with None, where there is no answer.
        probabilities: (n, classes) float64 in the order of `ProjectSpec.classes`; None for regression.
    """

    value: Values
    probabilities: Floats | None = None

    def __len__(self) -> int:
        return len(self.value)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """(n,) whether there is an answer."""
        return np.asarray(~pd.isna(self.value), dtype=bool)

    def take(self, rows: npt.NDArray[Any]) -> Predicted:
        """The answers of some rows, given as indices or as a mask."""
        return Predicted(self.value[rows], None if self.probabilities is None else self.probabilities[rows])


def loss(
    metric: Metric,
    truth: Sequence[Any] | Values,
    prediction: Sequence[Any] | Values,
    probabilities: Floats | None = None,
    classes: Sequence[str] | None = None,
) -> float:
    """A metric of scikit-learn as a loss: the metric itself, or 1 - metric where greater is better.

    Args:
        metric: its name in a ``defs.yaml``. `f1` is that of the last class; `roc_auc` of more than two classes
            is the mean of one-against-rest.
        truth: (n,) target values, in the target's unit, or class names.
        prediction: (n,) predicted values or class names; not looked at by `log_loss` and `roc_auc`.
        probabilities: (n, classes), for `log_loss` and `roc_auc`.
        classes: the class names in the order of the columns of `probabilities`; for classification.

    Raises:
        NotReady: when there are no rows, or too few classes among them for `roc_auc` (see `is_defined`).
        ModelError: when a truth or prediction is missing, or probabilities are needed and not given.
        SpecError: when `f1` meets more than two classes.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    _require_rows(metric, truth, prediction, probabilities)
    if metric in REGRESSION_METRICS:
        value = _regression_value(metric, truth.astype(float), prediction.astype(float))
    else:
        value = _classification_value(metric, truth, prediction, probabilities, list(classes or []))
    return 1.0 - value if metric in GREATER_IS_BETTER else value


def predicted_loss(metric: Metric, truth: Values, forecast: Predicted, classes: Sequence[str] | None = None) -> float:
    """`loss` of a `Predicted`; raises as it does."""
    return loss(metric, truth, forecast.value, forecast.probabilities, classes)


def metric_value(metric: Metric, loss: float) -> float:
    """A loss back on the metric's own scale, for people: a loss of 0.28 is an accuracy of 0.72."""
    return 1.0 - loss if metric in GREATER_IS_BETTER else loss


def is_defined(metric: Metric, truth: Values, classes: Sequence[str] | None = None) -> bool:
    """Whether the metric has a value on these truths: some rows, and for `roc_auc` rows of every class."""
    if metric != "roc_auc":
        return len(truth) > 0
    return len(truth) > 0 and set(classes or []) <= {str(name) for name in truth}


def _require_rows(metric: str, truth: Values, prediction: Values, probabilities: Floats | None) -> None:
    place, rows = f"loss {metric}", len(truth)
    if rows == 0:
        raise NotReady("-", place, "no rows, at least one is needed", "wait for labelled answers, or widen the span")
    if len(prediction) != rows:
        raise ModelError("-", place, f"{len(prediction)} predictions for {rows} truths", "pass equally many")
    needs = metric in NEEDS_PROBABILITIES
    if needs and (probabilities is None or len(probabilities) != rows):
        raise ModelError("-", place, "a probability per class and row is needed", "pass `probabilities`")
    absent = np.isnan(probabilities).any(axis=1) if needs and probabilities is not None else pd.isna(prediction)
    missing = int(np.sum(absent | pd.isna(truth)))
    if missing:
        raise ModelError(
            "-", place, f"{missing} of {rows} rows lack a truth or an answer", "leave them out, and say so"
        )


def _regression_value(metric: str, truth: Floats, prediction: Floats) -> float:
    from sklearn import metrics

    of: dict[str, Callable[..., float]] = {
        "mae": metrics.mean_absolute_error,
        "mse": metrics.mean_squared_error,
        "rmse": metrics.root_mean_squared_error,
        "mape": metrics.mean_absolute_percentage_error,
        "median_ae": metrics.median_absolute_error,
    }
    return float(of[metric](truth, prediction))


def _classification_value(
    metric: str, truth: Values, prediction: Values, probabilities: Floats | None, classes: list[str]
) -> float:
    from sklearn import metrics

    truth = truth.astype(str)
    if metric in NEEDS_PROBABILITIES and probabilities is not None:
        return _probability_value(metric, truth, probabilities, classes)
    prediction = prediction.astype(str)
    if metric == "accuracy":
        return float(metrics.accuracy_score(truth, prediction))
    if metric == "balanced_accuracy":
        # As scikit-learn's function of that name, which warns when a class is predicted that does not occur.
        return float(metrics.recall_score(truth, prediction, labels=np.unique(truth), average="macro", zero_division=0))
    if metric == "f1_macro":
        return float(metrics.f1_score(truth, prediction, average="macro", zero_division=0))
    if len(classes) != 2:
        raise SpecError("-", "problem.metric", f"f1 is for two classes, not {len(classes)}", "use f1_macro")
    return float(metrics.f1_score(truth, prediction, pos_label=classes[-1], labels=classes, zero_division=0))


def _probability_value(metric: str, truth: Values, probabilities: Floats, classes: list[str]) -> float:
    from sklearn import metrics

    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    order = np.argsort(classes)  # scikit-learn wants the labels, and so the columns, sorted
    labels, columns = [classes[i] for i in order], probabilities[:, order]
    if metric == "log_loss":
        return float(metrics.log_loss(truth, columns, labels=labels))
    if not is_defined("roc_auc", truth, classes):
        raise NotReady(
            "-", "loss roc_auc", f"rows of {sorted(set(truth))} only; each class is needed", "widen the span"
        )
    if len(classes) == 2:
        return float(metrics.roc_auc_score(truth == classes[-1], probabilities[:, -1]))
    return float(metrics.roc_auc_score(truth, columns, labels=labels, multi_class="ovr"))


# Baselines


def seasonal_naive(timeline: Timeline, spec: ProjectSpec, series: pd.DataFrame, events: pd.DataFrame) -> Values:
    """The target exactly one season before each event, of the same entity, as far as it was known when due.

    Where that value is missing or not known yet, the one two seasons before is taken, and so on while data exist.
    A season is elapsed time: over a clock change, the same UTC distance; where `data.every` is a day it is so many days
    of the calendar.

    Args:
        timeline: the project's time.
        spec: the project; its baseline is seasonal_naive.
        series: frame (event_time, entity, target); later rows do no harm, since nothing unknown at due is taken.
        events: frame (event_time, entity).

    Returns:
        (n,) float64 with NaN, or object (class names) with None, where there is no value at all.

    Source: R. J. Hyndman, G. Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., section 5.2.
    """
    baseline, target = spec.problem.baseline, spec.problem.target
    if not isinstance(baseline, SeasonalNaiveBaseline):
        raise SpecError(spec.name, "problem.baseline", f"type {baseline.type} has no season", "use seasonal_naive")
    known = series[series[target].notna()]
    # one value more than rows, so that the index -1 means "no value"
    values = np.array([*known[target], None if spec.problem.task == "classification" else np.nan])
    times, event_times = _times(known), _times(events)
    index = pd.MultiIndex.from_arrays([_entities(spec, known), times])
    entities = _entities(spec, events)
    known_at, due = timeline.known_from(times, target), event_times - np.timedelta64(timeline.horizon)
    found = np.full(len(events), -1)
    open_rows, stamps = np.arange(len(events)), timeline.grid.earlier(event_times, baseline.season)
    while len(known) and (open_rows := open_rows[stamps[open_rows] >= times.min()]).size:
        hits = index.get_indexer(pd.MultiIndex.from_arrays([entities[open_rows], stamps[open_rows]]))
        usable = (hits >= 0) & (known_at[hits] <= due[open_rows])
        found[open_rows[usable]] = hits[usable]
        open_rows, stamps = open_rows[~usable], timeline.grid.earlier(stamps, baseline.season)
    return np.asarray(values[found])


def majority(labels: pd.Series[Any]) -> str | None:
    """The most frequent class of known labels (the first by name of equally frequent ones); None without any."""
    counts = labels.dropna().astype(str).value_counts()
    return None if counts.empty else min(str(name) for name in counts.index[counts == counts.max()])


def baseline_predictions(
    spec: ProjectSpec, timeline: Timeline, series: pd.DataFrame, events: pd.DataFrame, *, known_until: datetime
) -> Predicted:
    """What the project's naive baseline would have answered, from nothing that was not known when due.

    Args:
        spec: the project.
        timeline: its time.
        series: frame (event_time, entity, target).
        events: frame (event_time, entity).
        known_until: for `majority`: when the model was trained (`as_of`); labels known later do not count, nor
            those not known yet when an event before that was due. `seasonal_naive` goes by each event's due alone.

    Returns:
        The answers; for classification with probabilities after Laplace's rule of succession: (count + 1) / (all +
        classes), over the known labels for `majority`, over the one value of the season for `seasonal_naive`.
    """
    if isinstance(spec.problem.baseline, SeasonalNaiveBaseline):
        value = seasonal_naive(timeline, spec, series, events)
        if spec.problem.task == "regression":
            return Predicted(value)
        return Predicted(value, _succession((value[:, None] == np.array(spec.classes, dtype=object)).astype(float)))
    return _majorities(spec, timeline, series, events, known_until)


def _majorities(
    spec: ProjectSpec, timeline: Timeline, series: pd.DataFrame, events: pd.DataFrame, known_until: datetime
) -> Predicted:
    target = spec.problem.target
    known = series[series[target].notna()]
    known_at = timeline.known_from(_times(known), target)
    order = np.argsort(known_at, kind="stable")
    of_class = known[target].astype(str).to_numpy()[order, None] == np.array(spec.classes)
    counts = np.vstack([np.zeros((1, len(spec.classes))), np.cumsum(of_class, axis=0)])
    until = np.minimum(_times(events) - np.timedelta64(timeline.horizon), as_datetime64(known_until))
    seen = counts[np.searchsorted(known_at[order], until, side="right")]
    names = np.array(spec.classes, dtype=object)
    by_name = np.argsort(spec.classes, kind="stable")
    value = names[by_name][np.argmax(seen[:, by_name], axis=1)]
    value[seen.sum(axis=1) == 0] = None
    return Predicted(value, _succession(seen))


def _succession(counts: Floats) -> Floats:
    return np.asarray((counts + 1) / (counts.sum(axis=1, keepdims=True) + counts.shape[1]), dtype=np.float64)


def _times(frame: pd.DataFrame) -> Times:
    return frame["event_time"].to_numpy(dtype="datetime64[ns]")


def _entities(spec: ProjectSpec, frame: pd.DataFrame) -> Values:
    return frame["entity"].astype(str).to_numpy() if spec.data.entity else np.full(len(frame), "", dtype=object)


# How sure a difference is


def block_bootstrap(
    event_times: Times, loss_a: Floats, loss_b: Floats, block: timedelta, seed: int, draws: int = 1000
) -> tuple[float, float] | None:
    """95 % interval of mean(loss_a) - mean(loss_b), by resampling blocks of time.

    Rows near in time err together, so whole blocks are drawn, cut by time across all entities.

    Args:
        event_times: (n,) UTC times, in any order.
        loss_a: (n,) loss of each row, as absolute error or 0/1.
        loss_b: (n,) the other's, for the same rows.
        block: length of a block; a day for hourly rows, say.
        seed: makes the draws the same each time.
        draws: how many resamples.

    Returns:
        (2.5 %, 97.5 %) quantiles; None when all rows lie in one block, since then nothing can be said.

    Source: E. Carlstein, The Use of Subseries Values for Estimating the Variance of a General Statistic from a
    Stationary Sequence, Annals of Statistics 14, 1986.
    """
    return _additive_bootstrap(event_times, loss_a, loss_b, np.asarray, block, seed, draws)


def block_bootstrap_rows(
    event_times: Times, difference: Callable[[Rows], float], block: timedelta, seed: int, draws: int = 1000
) -> tuple[float, float] | None:
    """As `block_bootstrap`, for a difference that is no mean over rows: it is computed anew from each draw's rows.

    Args:
        event_times: (n,) UTC times.
        difference: of row indices, repeated as drawn; NaN where it is not defined, and the draw is left out.
        block: length of a block.
        seed: makes the draws the same each time.
        draws: how many resamples.
    """
    blocks = _blocks(event_times, block)
    if len(blocks) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(blocks), (draws, len(blocks)))
    values = np.array([difference(np.concatenate([blocks[i] for i in draw])) for draw in drawn])
    return _interval(values)


def difference_interval(
    metric: Metric,
    event_times: Times,
    truth: Values,
    a: Predicted,
    b: Predicted,
    *,
    block: timedelta,
    seed: int,
    classes: Sequence[str] | None = None,
    draws: int = 1000,
) -> tuple[float, float] | None:
    """95 % interval of loss(a) - loss(b) over the same events, for any metric; see `block_bootstrap`.

    Vectorised where the metric is a mean over rows, or the root of one; else the metric of each draw is computed.
    """
    rows_a, rows_b = row_losses(metric, truth, a, classes), row_losses(metric, truth, b, classes)
    if rows_a is not None and rows_b is not None:
        finish = np.sqrt if metric == "rmse" else np.asarray
        return _additive_bootstrap(event_times, rows_a, rows_b, finish, block, seed, draws)

    def difference(rows: Rows) -> float:
        if not is_defined(metric, truth[rows], classes):
            return float("nan")
        of_a, of_b = (predicted_loss(metric, truth[rows], forecast.take(rows), classes) for forecast in (a, b))
        return of_a - of_b

    return block_bootstrap_rows(event_times, difference, block, seed, draws)


def row_losses(
    metric: Metric, truth: Values, forecast: Predicted, classes: Sequence[str] | None = None
) -> Floats | None:
    """(n,) losses whose mean is the loss (for `rmse`, its square); None for metrics that are no mean over rows."""
    if metric in ("mae", "mse", "rmse", "mape"):
        errors: Floats = np.abs(truth.astype(float) - forecast.value.astype(float))
        if metric == "mape":
            return np.asarray(errors / np.maximum(np.abs(truth.astype(float)), np.finfo(float).eps))
        return errors if metric == "mae" else np.square(errors)
    if metric == "accuracy":
        return np.asarray(truth.astype(str) != forecast.value.astype(str), dtype=np.float64)
    if metric == "log_loss" and forecast.probabilities is not None:
        column = pd.Index(classes or []).get_indexer(pd.Index(truth.astype(str)))
        shares = forecast.probabilities / forecast.probabilities.sum(axis=1, keepdims=True)
        eps = np.finfo(float).eps
        return np.asarray(-np.log(np.clip(shares[np.arange(len(truth)), column], eps, 1 - eps)))
    return None


def _blocks(event_times: Times, block: timedelta) -> list[Rows]:
    if len(event_times) == 0:
        return []
    times = event_times.astype("datetime64[ns]")
    number = (times - times.min()) // np.timedelta64(block).astype("timedelta64[ns]")
    return [np.flatnonzero(number == each) for each in np.unique(number)]


def _additive_bootstrap(
    event_times: Times,
    loss_a: Floats,
    loss_b: Floats,
    finish: Callable[[Floats], Floats],
    block: timedelta,
    seed: int,
    draws: int,
) -> tuple[float, float] | None:
    blocks = _blocks(event_times, block)
    if len(blocks) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(blocks), (draws, len(blocks)))
    sums = np.array([[loss_a[rows].sum(), loss_b[rows].sum()] for rows in blocks])
    sizes = np.array([len(rows) for rows in blocks])
    means = finish(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1, keepdims=True))
    return _interval(means[:, 0] - means[:, 1])


def _interval(values: Floats) -> tuple[float, float] | None:
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
