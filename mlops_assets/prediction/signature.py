"""The MLflow signature of a version: the form of a request to our service and to `mlflow models serve`.

Two of MLflow's types are not used. `event_time` is a string, since a datetime column refuses times with a zone. Feature
windows are arrays of any type, since an array of doubles refuses windows that hold only whole numbers and accepts
arrays of the wrong length; the model checks them itself (`from_records`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_assets.prediction.schema import ENTITY, EVENT_TIME, InputSchema

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


def signature(schema: InputSchema) -> ModelSignature:
    """Return the MLflow signature of a model with this schema.

    All numbers are declared double: MLflow refuses null, and 3.0, in a column of type long. So are booleans that may be
    null, since MLflow reads null in a boolean column as false. Columns that may be null are optional.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema, TensorSpec

    columns: list[ColSpec | TensorSpec] = [ColSpec(DataType.string, EVENT_TIME)]
    if schema.entity:
        columns.append(ColSpec(DataType.string, ENTITY))
    for name, dtype in schema.known.items():
        text_or_bool = DataType.string if dtype == "category" else DataType.boolean
        kind = DataType.double if _is_double(schema, name) else text_or_bool
        columns.append(ColSpec(kind, name, required=name not in schema.nullable))
    anything = AnyType()  # type: ignore[no-untyped-call]
    columns += [ColSpec(Array(anything), schema.history_field(name)) for name in schema.history]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string if schema.classes else DataType.double, "prediction")
    ]
    outputs += [ColSpec(DataType.double, f"probability_{name}") for name in schema.classes]
    return ModelSignature(inputs=Schema(columns), outputs=Schema(outputs))


def input_example(schema: InputSchema, records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows of a request (`to_records`) as a frame, for the input example of the MLflow model."""
    frame = pd.DataFrame(list(records), columns=schema.fields)
    return frame.astype({name: "float64" for name in schema.known if _is_double(schema, name)})


def _is_double(schema: InputSchema, name: str) -> bool:
    dtype = schema.known[name]
    return dtype in ("float", "int") or (dtype == "bool" and name in schema.nullable)
