"""When to retrain: a declared policy, a discriminated union of conditions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlops_assets.spec.duration import Duration, SpecModel

DriftStatistic = Literal["wasserstein", "psi", "jensenshannon", "hellinger"]


class PerformancePolicy(SpecModel):
    """The served model's loss has grown against what it once was."""

    type: Literal["performance"]
    """Names this policy."""
    ratio: float | None = Field(default=None, gt=1)
    """Breached when recent loss > ratio x reference loss."""
    worse_by: float | None = Field(default=None, gt=0)
    """Breached when recent loss > reference loss + worse_by (for accuracy, 0.05 is five points)."""
    against: Literal["first_live_windows", "holdout"] = "first_live_windows"
    """The reference: the deployment period's first windows, or the hold-out of its version."""
    first: int = Field(default=2, ge=1)
    """How many first windows make the reference (unused with holdout)."""
    last: int = Field(default=2, ge=1)
    """How many newest windows are averaged; never overlapping the first ones."""

    @model_validator(mode="after")
    def _one_threshold(self) -> PerformancePolicy:
        if (self.ratio is None) == (self.worse_by is None):
            raise ValueError("give either ratio or worse_by")
        return self

    @property
    def signal(self) -> str:
        """The name of this signal in evidence and decisions."""
        return f"performance:{self.against}"


class DriftPolicy(SpecModel):
    """What goes in or comes out has another distribution than the version's reference."""

    type: Literal["drift"]
    """Names this policy."""
    signal_of: Literal["prediction", "data"] = Field(alias="signal")
    """`prediction`: distance of the predictions; `data`: share of drifted columns."""
    statistic: DriftStatistic | None = None
    """For `prediction`: the distance. For `data` it is set under monitoring.drift."""
    threshold: float = Field(gt=0)
    """Breached when the distance, or the share, is greater."""
    for_: int = Field(default=1, ge=1, alias="for")
    """How many windows in a row must be above the threshold."""

    @model_validator(mode="after")
    def _statistic_is_for_predictions(self) -> DriftPolicy:
        if (self.signal_of == "prediction") != (self.statistic is not None):
            raise ValueError(
                "`statistic` is given with signal prediction, and only with it (data's is monitoring.drift.statistic)"
            )
        return self

    @property
    def signal(self) -> str:
        """The name of this signal in evidence and decisions."""
        return f"drift:{self.signal_of}" + (f":{self.statistic}" if self.statistic else "")


class AgePolicy(SpecModel):
    """The version's data have grown old."""

    type: Literal["age"]
    """Names this policy."""
    max: Duration
    """Breached when now - as_of of the serving version >= max."""

    @property
    def signal(self) -> str:
        """The name of this signal in evidence and decisions."""
        return "age"


class AnyPolicy(SpecModel):
    """One member is enough."""

    type: Literal["any"]
    """Names this policy."""
    of: list[Policy] = Field(min_length=1)
    """The members; policies of any kind."""


class AllPolicy(SpecModel):
    """All members are needed (each latched for itself)."""

    type: Literal["all"]
    """Names this policy."""
    of: list[Policy] = Field(min_length=1)
    """The members; policies of any kind."""


Policy = Annotated[PerformancePolicy | DriftPolicy | AgePolicy | AnyPolicy | AllPolicy, Field(discriminator="type")]
AnyPolicy.model_rebuild()
AllPolicy.model_rebuild()


def leaves(policy: Policy) -> list[PerformancePolicy | DriftPolicy | AgePolicy]:
    """All conditions of a policy, in the order written."""
    if isinstance(policy, AnyPolicy | AllPolicy):
        return [leaf for member in policy.of for leaf in leaves(member)]
    return [policy]


def prediction_statistics(policy: Policy) -> list[str]:
    """The prediction-drift statistics that a policy needs reports to carry, each once."""
    found = [leaf.statistic for leaf in leaves(policy) if isinstance(leaf, DriftPolicy) and leaf.statistic]
    return list(dict.fromkeys(found))
