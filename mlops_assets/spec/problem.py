"""`problem`: target, metric, baseline, success criterion and validation."""

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
    """Predicts the value one season ago."""

    type: Literal["seasonal_naive"] = "seasonal_naive"
    """The kind of baseline."""
    season: Duration
    """Age of that value: at least horizon + every + arrival_delay + labels.delay, because a newer one is not known
    yet."""


class MajorityBaseline(SpecModel):
    """Predicts the most frequent class among the labels that were known when the model was trained."""

    type: Literal["majority"] = "majority"
    """The kind of baseline."""


Baseline = Annotated[SeasonalNaiveBaseline | MajorityBaseline, Field(discriminator="type")]


class SuccessSpec(SpecModel):
    """When the project counts as a success."""

    better_than_baseline_by: float = Field(default=0.05, ge=0, lt=1)
    """The model's loss must be lower than the baseline's by at least this share."""


class ValidationSpec(SpecModel):
    """On which rows a candidate is evaluated."""

    strategy: Literal["last", "walk_forward"] = "last"
    """`last`: one fit predicts the whole hold-out. `walk_forward`: the model is refitted every `step`."""
    holdout: Duration
    """Length of the hold-out: the newest labelled rows, which are not used to select or fit a model."""
    step: Duration | None = None
    """Only for `walk_forward`: how often the model is refitted."""

    @model_validator(mode="after")
    def _step_belongs_to_walk_forward(self) -> ValidationSpec:
        if (self.strategy == "walk_forward") != (self.step is not None):
            raise ValueError("set `step` with the strategy walk_forward, and only with it")
        if self.step is not None and not self.step <= self.holdout:
            raise ValueError(f"step ({self.step}) must not be longer than the hold-out ({self.holdout})")
        if self.holdout.total_seconds() <= 0 or (self.step is not None and self.step.total_seconds() <= 0):
            raise ValueError("holdout and step must be longer than 0")
        return self


class ProblemSpec(SpecModel):
    """What is predicted, why, and when it is good enough."""

    statement: str = Field(min_length=10)
    """One sentence for stakeholders: what is predicted and what for."""
    assumptions: list[str] = []
    """Assumptions of the project, shown with the business case."""
    task: Literal["regression", "classification"]
    """Whether a number or one of several classes is predicted."""
    target: str
    """The column that is predicted."""
    metric: Metric
    """The metric that decides, by scikit-learn's name. Where a greater value is better, its loss is 1 - value."""
    baseline: Baseline
    """The naive prediction that a model must beat. Reports always show it next to the model."""
    success: SuccessSpec = SuccessSpec()
    """What `feasibility` and the first candidate must show."""
    validation: ValidationSpec
    """On which rows candidates are evaluated."""

    @model_validator(mode="after")
    def _metric_and_baseline_fit_the_task(self) -> ProblemSpec:
        if (self.metric in REGRESSION_METRICS) != (self.task == "regression"):
            raise ValueError(f"metric {self.metric} does not fit task {self.task}")
        if self.task == "regression" and self.baseline.type == "majority":
            raise ValueError("baseline majority is for classification; use seasonal_naive")
        return self

    @property
    def greater_is_better(self) -> bool:
        """Whether a greater value of the metric is better. Its loss is then 1 - value."""
        return self.metric in GREATER_IS_BETTER
