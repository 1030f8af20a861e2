"""A model that H2O fitted, for the tests that score it outside the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_assets.prediction.features import FeatureMatrix


@dataclass(frozen=True)
class Fitted:
    """A model that H2O fitted: its files, and the cluster's own predictions for `matrix`."""

    mojo: Path
    jar: Path
    matrix: FeatureMatrix
    predictions: Any
