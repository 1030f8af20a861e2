"""Which tsfresh features exist: relevant ones, without doubles, within a budget of computing per answer."""

from __future__ import annotations

from typing import Any, Literal

import numpy.typing as npt

from mlops_assets.prediction.features import FeatureDefinitions
from mlops_assets.prediction.inputs import Inputs
from mlops_assets.spec.features import FeaturesSpec


def select_features(
    features: FeaturesSpec, inputs: Inputs, target: npt.NDArray[Any], task: Literal["regression", "classification"]
) -> FeatureDefinitions:
    """Choose a project's features on rows before the hold-out (sorted by time; the caller has cut them).

    Args:
        features: what the project declares.
        inputs: n rows.
        target: (n,) floats for regression, class names for classification.
        task: the project's.
    """
    raise NotImplementedError
