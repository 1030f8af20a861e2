"""What a report says in numbers: typed summaries, kept in the ledger with the report's fact."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Record(BaseModel):
    """Base of all records: unknown fields are errors, values never change."""

    # a field whose stored name is another one has that name as its alias: state folders of earlier releases stay readable
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class DriftSummary(Record):
    """How far a deployment period's live rows lie from its version's own reference."""

    verdict: Literal["too young", "drift", "no drift"]
    rows: int
    """Of the deployment period, within `monitoring.current`."""
    window_rows: int = 0
    """Of the deployment period, in this window itself."""
    statistic: str
    threshold: float
    share: float | None = None
    """Share of columns above the threshold; None when too young."""
    columns: dict[str, float] = {}
    """Distance per column."""
    prediction: dict[str, float] = {}
    """Distance of the predictions, per statistic that the policy or the report needs."""


class PerformanceSummary(Record):
    """The loss of one window, over the same events for served, shadow and baseline."""

    pending: bool
    """The labels are not there yet; all numbers are None."""
    labels_at: AwareDatetime
    metric: str
    rows: int = 0
    """Labelled answers of the window."""
    deployment_period_rows: int = Field(0, alias="reign_rows")
    """Those of them that the deployment period's version gave."""
    served: float | None = None
    """Loss of all answers of the window, whoever gave them."""
    deployment_period: float | None = Field(None, alias="reign")
    """Loss of the deployment period's answers only; policies read this one."""
    shadow: float | None = None
    """Loss of the shadow over the same events as `served`."""
    baseline: float | None = None
    """Loss of the baseline over the same events as `served`."""
    realised_gain: float | None = None
    """1 - deployment period / shadow over the deployment period so far, where a promotion had promised one."""
    promised_gain: float | None = None
    """1 - candidate / the same shadow on the hold-out of the last promotion."""


class HealthSummary(Record):
    """How the service did in one window."""

    requests: int
    errors: int
    availability: float | None
    """Answered / due events; None when nothing was due."""
    late: int
    missed: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    memory_mb: float | None


Summary = DriftSummary | PerformanceSummary | HealthSummary
