"""A dataset, ready to be learned from: inputs as they were known, targets, and which rows may be seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.evaluation.splits import Split, split
from mlops_assets.prediction.inputs import Inputs, InputSchema, cut_inputs
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline

Target = npt.NDArray[np.float64] | npt.NDArray[np.object_]


@dataclass(frozen=True)
class Prepared:
    """A dataset, ready to be learned from.

    Attributes:
        schema: what a request holds, with the entities of this dataset.
        inputs: of all labelled rows, as they were known when each answer was due.
        target: (n,) float64 or class names.
        times: (n,) aware UTC times.
        split: which rows are used for what.
    """

    schema: InputSchema
    inputs: Inputs
    target: Target
    times: pd.Series
    split: Split


def prepare(timeline: Timeline, dataset: pd.DataFrame, champion_as_of: datetime | None) -> Prepared:
    """Cut the inputs of all labelled rows, and say which rows may be seen."""
    spec = timeline.spec
    schema = InputSchema.of(spec)
    if schema.entity:
        schema = schema.model_copy(update={"entities": sorted({str(name) for name in dataset["entity"]})})
    times = dataset["event_time"].reset_index(drop=True)
    return Prepared(
        schema=schema,
        inputs=cut_inputs(timeline, schema, dataset, dataset),
        target=target_of(spec, dataset),
        times=times,
        split=split(timeline, times, champion_as_of),
    )


def target_of(spec: ProjectSpec, frame: pd.DataFrame) -> Target:
    """The target column as float64, or as class names."""
    column = frame[spec.problem.target]
    if spec.problem.task == "regression":
        return column.to_numpy(dtype=np.float64)
    return np.array([str(value) for value in column], dtype=object)
