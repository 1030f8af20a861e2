"""A version's MLflow signature: the one form of a request, for our service and for `mlflow models serve`.

Two of MLflow's types are avoided on purpose. `event_time` is a string, since a datetime column refuses times with a
zone. History columns are arrays of anything, since an array of doubles refuses windows that hold only whole numbers
and lets ragged ones through; the model checks them itself (`from_records`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlops_assets.prediction.inputs import ENTITY, EVENT_TIME, InputSchema

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


def signature(schema: InputSchema) -> ModelSignature:
    """The MLflow signature of a model with this schema.

    A known number that may be null is declared an optional double, which takes null; whole numbers are declared double
    too, since MLflow refuses a long column that holds a null, and 3.0 in a long one; and so are booleans that may be
    null, since MLflow reads a null in a boolean column as false.
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
    answers: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string if schema.classes else DataType.double, "prediction")
    ]
    answers += [ColSpec(DataType.double, f"probability_{name}") for name in schema.classes]
    return ModelSignature(inputs=Schema(columns), outputs=Schema(answers))


def input_example(schema: InputSchema, records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of a request (`to_records`) as the frame that MLflow keeps as the model's input example."""
    frame = pd.DataFrame(list(records), columns=schema.fields)
    return frame.astype({name: "float64" for name in schema.known if _is_double(schema, name)})


def _is_double(schema: InputSchema, name: str) -> bool:
    dtype = schema.known[name]
    return dtype in ("float", "int") or (dtype == "bool" and name in schema.nullable)
