"""`retraining`: the policy and the guards that limit it."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from mlops_assets.spec.duration import Duration, SpecModel
from mlops_assets.spec.policies import Policy


class BudgetSpec(SpecModel):
    """How many trainings the policy may start."""

    runs: int = Field(ge=1)
    """Maximum number of trainings of the policy within `per`; failed ones count."""
    per: Duration
    """The length of project time in which they are counted."""


class RetrainingSpec(SpecModel):
    """The policy and the guards that limit it."""

    when: Policy
    """The policy: which conditions trigger a retraining."""
    cooldown: Duration
    """Minimum project time from the last training with a verdict, final failure or rollback to the policy's next
    training."""
    min_new_rows: int = Field(default=300, ge=0)
    """Minimum number of labelled rows since the champion's training. With fewer the decision is COLLECT."""
    warm_up: Duration = timedelta(0)
    """How long after a promotion or a rollback the policy does not retrain."""
    attempts: int = Field(default=3, ge=1)
    """How often a failing training is tried for one decision. Interrupted attempts are not counted."""
    pause: Duration = timedelta(seconds=30)
    """Wall time before the second attempt. It doubles with each further one, up to five minutes."""
    budget: BudgetSpec = BudgetSpec(runs=12, per=timedelta(days=365))
    """A safety limit on the number of trainings."""
