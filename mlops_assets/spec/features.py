"""What the model sees."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from mlops_assets.spec.data import ColumnName
from mlops_assets.spec.duration import Duration, SpecModel


class HistorySpec(SpecModel):
    """Series whose recent past is summed up by tsfresh."""

    columns: list[ColumnName] = Field(min_length=1)
    """Numbers under `data.columns`, or the target."""
    length: Duration
    """How far back a window reaches; a multiple of `data.every`."""
    lags: list[Duration] = []
    """Ages, counted back from the event, whose single value is a feature: `168h` is the same hour a week ago."""


class SelectSpec(SpecModel):
    """Which of tsfresh's features exist."""

    sample: int = Field(default=300, ge=30)
    """Rows on which all calculators are run and the relevance test decides."""
    fdr: float = Field(default=0.05, gt=0, lt=1)
    """False discovery rate of the relevance test (Benjamini-Yekutieli)."""
    most: int = Field(default=40, ge=0)
    """At most that many features."""
    budget: Duration = timedelta(milliseconds=1)
    """Time that computing them may take per answer."""


class FeaturesSpec(SpecModel):
    """Known columns as they are, history columns through tsfresh."""

    known: list[ColumnName] = []
    """Columns whose value is known when an answer is due: calendar, forecasts, with horizon 0 the readings."""
    history: HistorySpec | None = None
    """Which past is summed up; without it only known columns are seen."""
    calculators: Literal["minimal", "efficient", "comprehensive"] | dict[str, list[dict[str, Any]] | None] = "efficient"
    """tsfresh's settings: a name, or its `default_fc_parameters` dictionary."""
    select: SelectSpec = SelectSpec()
    """Which of the calculators' features exist."""
