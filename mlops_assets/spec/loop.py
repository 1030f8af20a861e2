"""Serving, monitoring, promotion and retraining."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mlops_assets.spec.duration import Duration, SpecModel
from mlops_assets.spec.policies import DriftStatistic, Policy

ShadowChoice = Literal["none", "first", "previous"]


class PromotionSpec(SpecModel):
    """What a candidate must show."""

    margin: float = Field(default=0.02, ge=0, lt=1)
    """Share by which its loss must lie below the champion's on the same unseen rows."""
    min_rows: int = Field(default=300, ge=1)
    """Fewer unseen rows than that: too early to judge, HOLD."""


class ServingSpec(SpecModel):
    """How answers are given."""

    every: Duration
    """How often the scorer takes the events that became due, beside each window's end; at most the horizon, where there
    is one."""
    give_up: Duration | None = None
    """How long an endpoint may be unable to answer before its events are missed; by default one window
    and an hour, since one in which the clocks go back is that much longer."""
    shadow: ShadowChoice = "first"
    """Which former champion goes on predicting unseen: none, the first, or the one before."""
    latency: Duration = timedelta(milliseconds=250)
    """p95 above which the check `latency` warns."""


class DriftSpec(SpecModel):
    """When a column counts as drifted, and the data with it."""

    statistic: DriftStatistic = "wasserstein"
    """The distance between live and reference values of a column."""
    threshold: float = Field(default=0.1, gt=0)
    """Distance from which a column counts as drifted."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Share of drifted columns from which the check `data_drift` warns."""


LEAST_ROWS = 10
"""Of fewer rows a distribution says nothing, whatever a project asks for."""


class MonitoringSpec(SpecModel):
    """What reports compare."""

    reference: Duration = timedelta(days=56)
    """Newest stretch of the training set kept as the version's reference; a shorter set gives all it has."""
    current: Duration = timedelta(days=28)
    """Newest stretch of the deployment period's answers that a report looks at."""
    min_rows: int = Field(default=100, ge=1)
    """With fewer answers of the deployment period a report says `too young`; drift asks for at least 10, whatever stands here."""
    sample: int = Field(default=5000, ge=100)
    """Rows handed to Evidently at most, drawn with a fixed seed."""
    drift: DriftSpec = DriftSpec()
    """When drift reports warn."""

    @property
    def drift_rows(self) -> int:
        """Live rows from which drift is told."""
        return max(self.min_rows, LEAST_ROWS)


class BudgetSpec(SpecModel):
    """How many trainings are paid for."""

    runs: int = Field(ge=1)
    """At most that many trainings of the policy, failed ones too, ..."""
    per: Duration
    """... within that stretch of project time."""


class RetrainingSpec(SpecModel):
    """The policy and its guards."""

    when: Policy
    """The policy: when evidence asks for a retraining."""
    cooldown: Duration
    """Least distance, in project time, from the last judged training."""
    min_new_rows: int = Field(default=300, ge=0)
    """Labelled rows since the champion's training that a retraining must find, else COLLECT."""
    warm_up: Duration = timedelta(0)
    """How long a new deployment period is left alone."""
    attempts: int = Field(default=3, ge=1)
    """How often a failing training is started for one decision; those that lost a server are not counted."""
    pause: Duration = timedelta(seconds=30)
    """Wall time before the second attempt; doubles with each further one, up to five minutes."""
    budget: BudgetSpec = BudgetSpec(runs=12, per=timedelta(days=365))
    """A fuse against a policy that is too eager."""
