"""The fields of a `defs.yaml`, as pydantic models whose validators state what must hold."""

from mlops_assets.spec.data import Column, DataSpec, LabelsSpec
from mlops_assets.spec.duration import Duration, format_duration
from mlops_assets.spec.features import FeaturesSpec, HistorySpec, SelectSpec
from mlops_assets.spec.monitoring import DriftSpec, MonitoringSpec
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
from mlops_assets.spec.promotion import PromotionSpec
from mlops_assets.spec.retraining import BudgetSpec, RetrainingSpec
from mlops_assets.spec.serving import ServingSpec
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
