"""95 % intervals of the difference of two losses, by a bootstrap over blocks of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from mlops_assets.evaluation.metrics import Floats, Predicted, Values, is_defined, predicted_loss, row_losses
from mlops_assets.spec.problem import Metric
from mlops_assets.timeline import Times

RowIndices = npt.NDArray[np.int64]


def difference_interval(
    metric: Metric,
    event_times: Times,
    labels: Values,
    a: Predicted,
    b: Predicted,
    *,
    block: timedelta,
    seed: int,
    classes: Sequence[str] | None = None,
    draws: int = 1000,
) -> tuple[float, float] | None:
    """Return the 95 % interval of loss(a) - loss(b) over the same events, for any metric.

    For metrics that are a mean over rows, or the root of one, `block_bootstrap` does it in one vectorised step; for the
    others, `block_bootstrap_rows` computes the metric of each draw.

    Args:
        metric: the project's metric.
        event_times: (n,) UTC times, in any order.
        labels: (n,) numbers or class names.
        a: predictions for these events.
        b: the other predictions for these events.
        block: length of a block.
        seed: seed of the random draws.
        classes: class names in the order of the probabilities; for classification.
        draws: number of resamples.

    Returns:
        (2.5 %, 97.5 %) quantiles in the loss's unit; None when all rows lie in one block, or no draw has a value.
    """
    losses_a, losses_b = row_losses(metric, labels, a, classes), row_losses(metric, labels, b, classes)
    if losses_a is not None and losses_b is not None:
        return block_bootstrap(event_times, losses_a, losses_b, block, seed, draws, root=metric == "rmse")

    def difference(rows: RowIndices) -> float:
        if not is_defined(metric, labels[rows], classes):
            return float("nan")
        loss_a, loss_b = (predicted_loss(metric, labels[rows], each.take(rows), classes) for each in (a, b))
        return loss_a - loss_b

    return block_bootstrap_rows(event_times, difference, block, seed, draws)


def block_bootstrap(
    event_times: Times,
    losses_a: Floats,
    losses_b: Floats,
    block: timedelta,
    seed: int,
    draws: int = 1000,
    *,
    root: bool = False,
) -> tuple[float, float] | None:
    """Return the 95 % interval of mean(losses_a) - mean(losses_b), by resampling blocks of time.

    Errors of neighbouring rows are correlated, so whole blocks are drawn. Blocks are cut by time, across all entities.

    Args:
        event_times: (n,) UTC times, in any order.
        losses_a: (n,) loss of each row, for example its absolute error.
        losses_b: (n,) losses of the other predictions, for the same rows.
        block: length of a block, for example a day for hourly rows.
        seed: seed of the random draws.
        draws: number of resamples.
        root: take the square root of both means before they are subtracted (RMSE from squared errors).

    Returns:
        (2.5 %, 97.5 %) quantiles; None when all rows lie in one block.

    Source: E. Carlstein, The Use of Subseries Values for Estimating the Variance of a General Statistic from a
    Stationary Sequence, Annals of Statistics 14, 1986.
    """
    blocks = _blocks(event_times, block)
    if len(blocks) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(blocks), (draws, len(blocks)))
    sums = np.array([[losses_a[rows].sum(), losses_b[rows].sum()] for rows in blocks])
    sizes = np.array([len(rows) for rows in blocks])
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1, keepdims=True)
    means = np.sqrt(means) if root else means
    return _quantiles(means[:, 0] - means[:, 1])


def block_bootstrap_rows(
    event_times: Times, difference: Callable[[RowIndices], float], block: timedelta, seed: int, draws: int = 1000
) -> tuple[float, float] | None:
    """Return the 95 % interval of a difference that is computed anew from the rows of each draw.

    Args:
        event_times: (n,) UTC times.
        difference: computes it from row indices, repeated as drawn; draws for which it returns NaN are left out.
        block: length of a block.
        seed: seed of the random draws.
        draws: number of resamples.

    Returns:
        (2.5 %, 97.5 %) quantiles; None when all rows lie in one block, or no draw has a value.
    """
    blocks = _blocks(event_times, block)
    if len(blocks) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(blocks), (draws, len(blocks)))
    return _quantiles(np.array([difference(np.concatenate([blocks[i] for i in draw])) for draw in drawn]))


def _blocks(event_times: Times, block: timedelta) -> list[RowIndices]:
    """Return the row indices of each block of time that holds rows."""
    if len(event_times) == 0:
        return []
    times = event_times.astype("datetime64[ns]")
    number = (times - times.min()) // np.timedelta64(block).astype("timedelta64[ns]")
    return [np.flatnonzero(number == each) for each in np.unique(number)]


def _quantiles(values: Floats) -> tuple[float, float] | None:
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
