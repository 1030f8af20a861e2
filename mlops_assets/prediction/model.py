"""The models-from-code file: what `mlflow models serve` runs; thin around `Predictor`, which our own service runs too.

Given to `mlflow.pyfunc.log_model(python_model=<path of this file>, artifacts={"bundle": <folder>})`. MLflow executes it
in processes that have MLflow loaded already; nothing of the platform imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from mlops_assets.errors import InputError
from mlops_assets.prediction.inputs import from_records
from mlops_assets.prediction.predictor import Predictor


class BundleModel(PythonModel):
    """Answers with the bundle among the model's artifacts."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle, checking its digests."""
        self.predictor = Predictor.load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer a frame of requests (columns as `signature` says).

        Returns:
            `prediction`, and for classification `probability_<class>`, one row per request.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE (400 of the scoring server), naming row and field.
        """
        try:
            return self.predictor.predict(from_records(_records(model_input), self.predictor.schema)).to_frame()
        except InputError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as they were sent: a null of a scalar column has become NaN in the frame, or None, and is null again."""
    return [
        {str(name): None if isinstance(value, float) and value != value else value for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


set_model(BundleModel())
