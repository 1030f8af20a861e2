"""The MLflow model: a models-from-code file around `Predictor`, for `mlflow models serve` and `mlflow.pyfunc`.

It is passed to `mlflow.pyfunc.log_model(python_model=<path of this file>, artifacts={"bundle": <folder>})`. MLflow
copies the file into each model and executes it in processes that have loaded MLflow; no other module imports it.
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
    """Predicts with the bundle among the model's artifacts."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle and verify its digests."""
        self.predictor = Predictor.load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Predict the rows of a frame.

        Args:
            context: not used; MLflow passes it.
            model_input: rows of a request, with the columns of the model's signature.
            params: not used; MLflow passes it.

        Returns:
            `prediction`, and for classification `probability_<class>`, one row per request.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE (HTTP status 400), naming row and field of a bad value.
        """
        try:
            return self.predictor.predict(from_records(_records(model_input), self.predictor.schema)).to_frame()
        except InputError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as they were sent: NaN, which pandas makes of null in a scalar column, is None again."""
    return [
        {str(name): None if isinstance(value, float) and value != value else value for name, value in row.items()}
        for row in frame.to_dict(orient="records")
    ]


set_model(BundleModel())
