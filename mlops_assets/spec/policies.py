"""`retraining.when`: the conditions that trigger a retraining."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlops_assets.spec.duration import Duration, SpecModel

DriftStatistic = Literal["wasserstein", "psi", "jensenshannon", "hellinger"]


class PerformancePolicy(SpecModel):
    """Triggers when the recent loss of the served model is higher than its loss at the beginning."""

    type: Literal["performance"]
    """The kind of condition."""
    ratio: float | None = Field(default=None, gt=1)
    """Triggers when recent loss > ratio x reference loss."""
    worse_by: float | None = Field(default=None, gt=0)
    """Triggers when recent loss > reference loss + worse_by. For accuracy, 0.05 is five percentage points."""
    against: Literal["first_live_windows", "holdout"] = "first_live_windows"
    """The reference: the first windows of the deployment period, or the hold-out of its version."""
    first: int = Field(default=2, ge=1)
    """Number of first windows whose loss is the reference. Without effect with `holdout`."""
    last: int = Field(default=2, ge=1)
    """Number of newest windows whose losses are averaged. They never overlap the first ones."""

    @model_validator(mode="after")
    def _one_threshold(self) -> PerformancePolicy:
        if (self.ratio is None) == (self.worse_by is None):
            raise ValueError("set either ratio or worse_by")
        return self

    @property
    def signal(self) -> str:
        """The name of this signal in evidence and decisions."""
        return f"performance:{self.against}"


class DriftPolicy(SpecModel):
    """Triggers when live inputs or predictions have another distribution than the reference window of the version."""

    type: Literal["drift"]
    """The kind of condition."""
    signal_of: Literal["prediction", "data"] = Field(alias="signal")
    """`prediction`: the distance of the predictions. `data`: the share of drifted columns."""
    statistic: DriftStatistic | None = None
    """The distance, for `prediction`. For `data` it is set under `monitoring.drift`."""
    threshold: float = Field(gt=0)
    """Triggers when the distance or the share is greater."""
    for_: int = Field(default=1, ge=1, alias="for")
    """Number of consecutive windows that must be above the threshold."""

    @model_validator(mode="after")
    def _statistic_is_for_predictions(self) -> DriftPolicy:
        if (self.signal_of == "prediction") != (self.statistic is not None):
            raise ValueError(
                "set `statistic` with signal prediction, and only with it (for data it is monitoring.drift.statistic)"
            )
        return self

    @property
    def signal(self) -> str:
        """The name of this signal in evidence and decisions."""
        return f"drift:{self.signal_of}" + (f":{self.statistic}" if self.statistic else "")


class AgePolicy(SpecModel):
    """Triggers when the training data of the version are old."""

    type: Literal["age"]
    """The kind of condition."""
    max: Duration
    """Triggers when this time has passed since `as_of` of the serving version, or of a later training with a verdict
    or final failure."""

    @property
    def signal(self) -> str:
        """The name of this signal in evidence and decisions."""
        return "age"


class AnyPolicy(SpecModel):
    """Triggers when at least one of its conditions does."""

    type: Literal["any"]
    """The kind of condition."""
    of: list[Policy] = Field(min_length=1)
    """The conditions, of any kind."""


class AllPolicy(SpecModel):
    """Triggers when all of its conditions do. Each one that triggered stays active until a training has a verdict."""

    type: Literal["all"]
    """The kind of condition."""
    of: list[Policy] = Field(min_length=1)
    """The conditions, of any kind."""


Policy = Annotated[PerformancePolicy | DriftPolicy | AgePolicy | AnyPolicy | AllPolicy, Field(discriminator="type")]
AnyPolicy.model_rebuild()
AllPolicy.model_rebuild()


def leaves(policy: Policy) -> list[PerformancePolicy | DriftPolicy | AgePolicy]:
    """Return the conditions of a policy that are not `any` or `all`, in the order of the file."""
    if isinstance(policy, AnyPolicy | AllPolicy):
        return [leaf for member in policy.of for leaf in leaves(member)]
    return [policy]


def prediction_statistics(policy: Policy) -> list[str]:
    """Return the distances of predictions that a policy reads, each once."""
    found = [leaf.statistic for leaf in leaves(policy) if isinstance(leaf, DriftPolicy) and leaf.statistic]
    return list(dict.fromkeys(found))
