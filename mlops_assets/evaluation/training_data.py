"""The labelled rows of a dataset as model inputs and targets, with the split that says which rows are used for what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.evaluation.splits import Split, split
from mlops_assets.prediction.inputs import Inputs, cut_inputs
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline

Target = npt.NDArray[np.float64] | npt.NDArray[np.object_]


@dataclass(frozen=True)
class TrainingData:
    """The labelled rows of a dataset, n of them.

    Attributes:
        schema: the schema of a request, with the entities of this dataset.
        inputs: inputs of each row, as they were known when its prediction was due.
        target: (n,) labels: float64 or class names.
        times: (n,) event times, aware UTC.
        split: which rows are used for what.
    """

    schema: InputSchema
    inputs: Inputs
    target: Target
    times: pd.Series
    split: Split


def prepare_training_data(timeline: Timeline, dataset: pd.DataFrame, champion_as_of: datetime | None) -> TrainingData:
    """Return inputs, labels and split of all rows of a dataset.

    Args:
        timeline: the project's time.
        dataset: labelled rows, sorted by event time.
        champion_as_of: when the champion's training snapshot was taken; None without a champion.

    Raises:
        TrainingError: when too few rows are left to learn from.
    """
    spec = timeline.spec
    schema = InputSchema.of(spec)
    if schema.entity:
        schema = schema.model_copy(update={"entities": sorted({str(name) for name in dataset["entity"]})})
    times = dataset["event_time"].reset_index(drop=True)
    return TrainingData(
        schema=schema,
        inputs=cut_inputs(timeline, schema, dataset, dataset),
        target=target_of(spec, dataset),
        times=times,
        split=split(timeline, times, champion_as_of),
    )


def target_of(spec: ProjectSpec, frame: pd.DataFrame) -> Target:
    """Return the target column as float64, or as class names."""
    column = frame[spec.problem.target]
    if spec.problem.task == "regression":
        return column.to_numpy(dtype=np.float64)
    return np.array([str(value) for value in column], dtype=object)
