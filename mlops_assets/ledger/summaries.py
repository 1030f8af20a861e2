"""The numbers of a report: typed summaries, stored in the ledger with the report's fact."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from mlops_assets.ledger.frozen import FrozenModel


class DriftSummary(FrozenModel):
    """Distance between the live rows of a deployment period and the reference of its version."""

    verdict: Literal["too young", "drift", "no drift"]
    """`too young`: fewer rows than `monitoring.min_rows`, or than 10, so nothing was compared."""
    rows: int
    """Rows of the deployment period within `monitoring.current`."""
    window_rows: int = 0
    """Rows of the deployment period in this window alone."""
    statistic: str
    threshold: float
    share: float | None = None
    """Share of columns at or above the threshold, from 0 to 1; None when too young."""
    columns: dict[str, float] = {}
    """Distance of each column."""
    prediction: dict[str, float] = {}
    """Distance of the predictions, by each statistic that the policy or the report needs."""


class PerformanceSummary(FrozenModel):
    """The loss of one window, over the same events for champion, shadow and baseline."""

    pending: bool
    """The labels are not known yet; all numbers are None."""
    labels_at: AwareDatetime
    """When all labels of the window are known."""
    metric: str
    rows: int = 0
    """Number of labelled predictions in the window."""
    deployment_period_rows: int = Field(0, alias="reign_rows")
    """Number of those that the version of the deployment period made."""
    served: float | None = None
    """Loss of all predictions that were served in the window, whichever version made them."""
    deployment_period: float | None = Field(None, alias="reign")
    """Loss of the predictions of the deployment period's version; policies read this one."""
    shadow: float | None = None
    """Loss of the shadow over the same events as `served`."""
    baseline: float | None = None
    """Loss of the baseline over the same events as `served`."""
    realised_gain: float | None = None
    """1 - loss of the deployment period / loss of the shadow, over the deployment period so far; None unless its
    promotion expected a gain."""
    promised_gain: float | None = None
    """1 - candidate's loss / loss of the same shadow, on the hold-out of the last promotion."""


class HealthSummary(FrozenModel):
    """How the service worked in one window."""

    requests: int
    errors: int
    availability: float | None
    """Share of due events with a prediction, from 0 to 1; None when no event was due."""
    late: int
    missed: int
    lost: int = 0
    """Events that were scored and have no prediction, although they are neither missed nor waiting."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    memory_mb: float | None


Summary = DriftSummary | PerformanceSummary | HealthSummary
