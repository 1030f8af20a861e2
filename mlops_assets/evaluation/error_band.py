"""The error band around predictions: the range in which labels usually lie, by a loss that was measured before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlops_assets.spec.problem import Metric

Floats = npt.NDArray[np.float64]


def half_width(metric: Metric, loss: float, prediction: Floats) -> Floats:
    """Return the distance of the error band's edges from each prediction.

    It is the loss for `mae`, `median_ae` and `rmse`, the root of the loss for `mse`, and for `mape` the loss times the
    prediction's absolute value.

    Args:
        metric: a metric for regression.
        loss: that metric's value, as measured before.
        prediction: (n,) in the target's unit.

    Returns:
        (n,) in the target's unit.
    """
    if metric == "mape":
        return loss * np.abs(prediction)
    return np.full(len(prediction), np.sqrt(loss) if metric == "mse" else loss)


HALF_WIDTH_IN_FLUX = {
    "mae": "loss.value",
    "median_ae": "loss.value",
    "rmse": "loss.value",
    "mse": "loss.value ^ 0.5",
    "mape": "loss.value * (if r._value < 0.0 then -r._value else r._value)",
}
"""`half_width` as a Flux expression by metric, from the row's prediction `r._value` and the loss `loss.value`."""
