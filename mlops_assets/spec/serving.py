"""`serving`: when predictions are requested, and which further work the scoring service does."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from mlops_assets.spec.duration import Duration, SpecModel

ShadowChoice = Literal["none", "first", "previous"]


class ServingSpec(SpecModel):
    """When predictions are requested, and which further work the scoring service does."""

    every: Duration
    """How often the scorer requests the predictions that are due; it also does so at the end of each window. At most
    `data.horizon`, unless that is 0."""
    give_up: Duration | None = None
    """How long the scorer retries when the service fails, before events are missed. The default is one window and an
    hour, because the window in which the clocks go back is an hour longer."""
    shadow: ShadowChoice = "first"
    """Which former champion keeps predicting in shadow: none, the first champion ever, or the previous one."""
    latency: Duration = timedelta(milliseconds=250)
    """Limit of the 95th percentile of latency per row; above it the check `latency` warns."""
