"""What a ``defs.yaml`` may say: pydantic models whose validators state the invariants."""

from mlops_assets.spec.data import Column, DataSpec, LabelsSpec
from mlops_assets.spec.duration import Duration, format_duration
from mlops_assets.spec.features import FeaturesSpec, HistorySpec, SelectSpec
from mlops_assets.spec.loop import (
    BudgetSpec,
    DriftSpec,
    MonitoringSpec,
    PromotionSpec,
    RetrainingSpec,
    ServingSpec,
)
from mlops_assets.spec.policies import (
    AgePolicy,
    AllPolicy,
    AnyPolicy,
    DriftPolicy,
    PerformancePolicy,
    Policy,
    prediction_statistics,
)
from mlops_assets.spec.problem import (
    MajorityBaseline,
    Metric,
    ProblemSpec,
    SeasonalNaiveBaseline,
    ValidationSpec,
)
from mlops_assets.spec.project import ProjectSpec, ReplayClock, WallClock
from mlops_assets.spec.training import H2OAutoMLSpec

__all__ = [
    "AgePolicy",
    "AllPolicy",
    "AnyPolicy",
    "BudgetSpec",
    "Column",
    "DataSpec",
    "DriftPolicy",
    "DriftSpec",
    "Duration",
    "FeaturesSpec",
    "H2OAutoMLSpec",
    "HistorySpec",
    "LabelsSpec",
    "MajorityBaseline",
    "Metric",
    "MonitoringSpec",
    "PerformancePolicy",
    "Policy",
    "ProblemSpec",
    "ProjectSpec",
    "PromotionSpec",
    "ReplayClock",
    "RetrainingSpec",
    "SeasonalNaiveBaseline",
    "SelectSpec",
    "ServingSpec",
    "ValidationSpec",
    "WallClock",
    "format_duration",
    "prediction_statistics",
]
