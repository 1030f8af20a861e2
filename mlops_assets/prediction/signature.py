"""A version's MLflow signature: the one form of a request, for our service and for `mlflow models serve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_assets.prediction.inputs import InputSchema

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


def signature(schema: InputSchema) -> ModelSignature:
    """The MLflow signature of a model with this schema."""
    raise NotImplementedError


def input_example(schema: InputSchema, records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of a request (`to_records`) as the frame that MLflow keeps as the model's input example."""
    raise NotImplementedError
