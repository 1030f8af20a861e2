"""The section `features` of a `defs.yaml`: what a model predicts from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from mlops_assets.spec.data import ColumnName
from mlops_assets.spec.duration import Duration, SpecModel


class HistorySpec(SpecModel):
    """Columns whose past values become features, and the length of the feature window."""

    columns: list[ColumnName] = Field(min_length=1)
    """Numeric columns of `data.columns`, or the target."""
    length: Duration
    """Length of the feature window; a multiple of `data.every`."""
    lags: list[Duration] = []
    """Ages before the event time whose value is a feature: `168h` is the value of the same hour a week ago."""


class SelectSpec(SpecModel):
    """How features are selected among those that tsfresh can compute."""

    sample: int = Field(default=300, ge=30)
    """Number of training rows on which all calculators are run and the relevance test is made."""
    fdr: float = Field(default=0.05, gt=0, lt=1)
    """False discovery rate of the relevance test (Benjamini-Yekutieli)."""
    most: int = Field(default=40, ge=0)
    """Largest number of selected features."""
    budget: Duration = timedelta(milliseconds=1)
    """Time that computing the selected features may take per prediction."""


class FeaturesSpec(SpecModel):
    """Features of a model: known columns as they are, past values of history columns as lags and tsfresh features."""

    known: list[ColumnName] = []
    """Columns whose value is known when a prediction is due: calendar, forecasts; with horizon 0 also readings."""
    history: HistorySpec | None = None
    """Columns whose past values are features; without it a model has only the known columns."""
    calculators: Literal["minimal", "efficient", "comprehensive"] | dict[str, list[dict[str, Any]] | None] = "efficient"
    """tsfresh's calculators: the name of one of its settings, or a dictionary of the form `default_fc_parameters`."""
    select: SelectSpec = SelectSpec()
    """How features are selected among the calculators' results."""
