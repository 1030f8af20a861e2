"""The business question: target, metric, baseline, success criterion, validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlops_assets.spec.duration import Duration, SpecModel

Metric = Literal[
    "mae", "rmse", "mse", "mape", "median_ae", "accuracy", "balanced_accuracy", "f1", "f1_macro", "log_loss", "roc_auc"
]
REGRESSION_METRICS = {"mae", "rmse", "mse", "mape", "median_ae"}
GREATER_IS_BETTER = {"accuracy", "balanced_accuracy", "f1", "f1_macro", "roc_auc"}


class SeasonalNaiveBaseline(SpecModel):
    """The value one season ago."""

    type: Literal["seasonal_naive"] = "seasonal_naive"
    """Names this baseline."""
    season: Duration
    """How far back; at least horizon + every + arrival_delay + labels.delay, or the value is not known yet."""


class MajorityBaseline(SpecModel):
    """The most frequent class of the labels known when the model was trained."""

    type: Literal["majority"] = "majority"
    """Names this baseline."""


Baseline = Annotated[SeasonalNaiveBaseline | MajorityBaseline, Field(discriminator="type")]


class SuccessSpec(SpecModel):
    """When the project is worth having."""

    better_than_baseline_by: float = Field(default=0.05, ge=0, lt=1)
    """Share by which the model's loss must lie below the baseline's."""


class ValidationSpec(SpecModel):
    """How a candidate is judged."""

    strategy: Literal["last", "walk_forward"] = "last"
    """`last`: one fit for the whole hold-out; `walk_forward`: a new fit every `step`."""
    holdout: Duration
    """The newest labelled stretch, on which nothing was chosen or fitted."""
    step: Duration | None = None
    """Only for `walk_forward`: how often the recipe is fitted again."""

    @model_validator(mode="after")
    def _step_belongs_to_walk_forward(self) -> ValidationSpec:
        if (self.strategy == "walk_forward") != (self.step is not None):
            raise ValueError("`step` is given with strategy walk_forward, and only with it")
        if self.step is not None and not self.step <= self.holdout:
            raise ValueError(f"step ({self.step}) must not be longer than the hold-out ({self.holdout})")
        if self.holdout.total_seconds() <= 0 or (self.step is not None and self.step.total_seconds() <= 0):
            raise ValueError("holdout and step must be longer than nothing")
        return self


class ProblemSpec(SpecModel):
    """What is predicted, why, and what counts as good."""

    statement: str = Field(min_length=10)
    """One sentence a stakeholder agrees to."""
    assumptions: list[str] = []
    """What is taken for granted, shown with the business case."""
    task: Literal["regression", "classification"]
    """A number, or one of several classes."""
    target: str
    """The column that is predicted."""
    metric: Metric
    """The one number that decides, by scikit-learn's name."""
    baseline: Baseline
    """The naive answer that a model must beat, for life shown beside it."""
    success: SuccessSpec = SuccessSpec()
    """What `feasibility`, and a first candidate, must show."""
    validation: ValidationSpec
    """On which rows candidates are judged."""

    @model_validator(mode="after")
    def _metric_and_baseline_fit_the_task(self) -> ProblemSpec:
        if (self.metric in REGRESSION_METRICS) != (self.task == "regression"):
            raise ValueError(f"metric {self.metric} does not fit task {self.task}")
        if self.task == "regression" and self.baseline.type == "majority":
            raise ValueError("baseline majority is for classification; use seasonal_naive")
        return self

    @property
    def greater_is_better(self) -> bool:
        """Whether a higher value of the metric is the better one; its loss is then 1 - value."""
        return self.metric in GREATER_IS_BETTER
