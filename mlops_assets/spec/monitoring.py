"""`monitoring`: which rows the reports compare, and when drift counts."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from mlops_assets.spec.duration import Duration, SpecModel
from mlops_assets.spec.policies import DriftStatistic

MINIMUM_DRIFT_ROWS = 10
"""Minimum number of rows of a drift report, also when `min_rows` is smaller: fewer rows give no distribution."""


class DriftSpec(SpecModel):
    """When a column counts as drifted, and when the data do."""

    statistic: DriftStatistic = "wasserstein"
    """The distance between live and reference values of a column. Categories are compared by `jensenshannon` where
    `wasserstein` is set."""
    threshold: float = Field(default=0.1, gt=0)
    """A column counts as drifted from this distance on."""
    share: float = Field(default=0.5, gt=0, le=1)
    """The check `data_drift` warns from this share of drifted columns on."""


class MonitoringSpec(SpecModel):
    """Which rows the reports compare."""

    reference: Duration = timedelta(days=56)
    """Length of the newest part of the training set that is kept as the version's reference window. A shorter training
    set is kept whole."""
    current: Duration = timedelta(days=28)
    """Length of the current window: the newest predictions of the deployment period that a drift report compares."""
    min_rows: int = Field(default=100, ge=1)
    """With fewer predictions of the deployment period a report says `too young`. Drift needs at least 10."""
    sample: int = Field(default=5000, ge=100)
    """Maximum number of rows that are handed to Evidently; they are drawn with a fixed seed."""
    drift: DriftSpec = DriftSpec()
    """When drift counts."""

    @property
    def drift_rows(self) -> int:
        """How many live rows a drift report needs."""
        return max(self.min_rows, MINIMUM_DRIFT_ROWS)
