"""The band around a forecast: how far it usually lies from the truth, by a loss that was measured before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlops_assets.spec.problem import Metric

Floats = npt.NDArray[np.float64]


def error_band(metric: Metric, loss: float, prediction: Floats) -> Floats:
    """Half the width of the band.

    Args:
        metric: of a regression.
        loss: of it.
        prediction: (n,) in the target's unit.

    Returns:
        (n,) in the target's unit.
    """
    if metric == "mape":
        return loss * np.abs(prediction)
    return np.full(len(prediction), np.sqrt(loss) if metric == "mse" else loss)


IN_FLUX = {
    "mae": "loss.value",
    "median_ae": "loss.value",
    "rmse": "loss.value",
    "mse": "loss.value ^ 0.5",
    "mape": "loss.value * (if r._value < 0.0 then -r._value else r._value)",
}
"""By metric the same for InfluxDB: of the row's prediction `r._value` and the loss `loss.value`."""
