"""The hold-out of a training and the files of its training set: features, facts, hold-out predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from mlops_assets.evaluation.metrics import Predicted
from mlops_assets.evaluation.training_data import TrainingData
from mlops_assets.prediction.features import FeatureDefinitions, FeatureMatrix, compute
from mlops_assets.prediction.inputs import Inputs, from_records
from mlops_assets.prediction.records import EPOCH
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, event_ids

ReadPredictions = Callable[[datetime, datetime], pd.DataFrame]
"""Reads the logged predictions for events with start <= event time < end, of champions and shadows: frame (event_id,
role, version, inputs, prediction, probabilities)."""


@dataclass(frozen=True)
class Holdout:
    """The unseen rows, m of them, with the inputs that candidate and champion both predict from.

    Attributes:
        rows: (m,) positions in the dataset.
        ids: event id of each row.
        inputs: inputs of each row, as logged with its prediction or cut from published data.
        recorded: whether the inputs are the logged ones.
        predictions: the logged predictions, one row per event and role; empty when inputs are cut from published data.
    """

    rows: np.ndarray[Any, np.dtype[np.int64]]
    ids: list[str]
    inputs: Inputs
    recorded: bool
    predictions: pd.DataFrame

    def __len__(self) -> int:
        return len(self.rows)


def read_holdout(
    timeline: Timeline, dataset: pd.DataFrame, training_data: TrainingData, read_predictions: ReadPredictions | None
) -> Holdout:
    """Return the unseen rows of a dataset with their inputs.

    Args:
        timeline: the project's time.
        dataset: the labelled rows.
        training_data: inputs, labels and split of these rows.
        read_predictions: reads logged predictions, for their inputs; missed events, which have none, are left out. None
            without a champion, or when the columns changed since it was trained: then inputs are cut from published
            data, as known when each prediction was due.
    """
    rows = np.flatnonzero(training_data.split.holdout)
    chosen = dataset.iloc[rows]
    ids = event_ids(timeline.project, chosen)
    if read_predictions is None:
        return Holdout(rows, ids, training_data.inputs.take(rows), False, pd.DataFrame())
    logged = read_predictions(*_span(chosen["event_time"]))
    logged = logged[logged["event_id"].isin(ids)].reset_index(drop=True)
    served = logged[logged["role"] == "champion"].set_index("event_id")
    predicted = [position for position, identity in enumerate(ids) if identity in served.index]
    ids = [ids[position] for position in predicted]
    schema = InputSchema.of(timeline.spec)
    inputs = from_records(list(served.loc[ids, "inputs"]), schema) if ids else training_data.inputs.take(rows[:0])
    return Holdout(rows[predicted], ids, inputs, True, logged)


def _span(times: pd.Series[Any]) -> tuple[datetime, datetime]:
    """Return the first of these times and the last plus one microsecond; an empty span where there are none."""
    if times.empty:
        return EPOCH, EPOCH
    return times.min().to_pydatetime(), times.max().to_pydatetime() + timedelta(microseconds=1)


class TrainingSetFacts(BaseModel):
    """`training_set.json`: from which dataset and definitions the features in `training_set.npz` were computed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    tag: str
    as_of: datetime
    rows: int
    holdout_rows: int
    recorded: bool
    definitions: FeatureDefinitions


def write_training_set(path: Path, matrix: FeatureMatrix, holdout_matrix: FeatureMatrix) -> None:
    """Write the features of all labelled rows and those of the hold-out (float64) as an npz file."""
    with path.open("wb") as file:
        np.savez_compressed(file, matrix=matrix, holdout=holdout_matrix)


def read_training_set(path: Path) -> tuple[FeatureMatrix, FeatureMatrix]:
    """Return the features of all labelled rows and those of the hold-out."""
    with np.load(path, allow_pickle=False) as stored:
        return stored["matrix"], stored["holdout"]


def holdout_features(definitions: FeatureDefinitions, holdout: Holdout, matrix: FeatureMatrix) -> FeatureMatrix:
    """Return the hold-out's features: computed from the logged inputs, or its rows of `matrix`."""
    return compute(definitions, holdout.inputs) if holdout.recorded else matrix[holdout.rows]


def holdout_frame(
    spec: ProjectSpec, training_data: TrainingData, holdout: Holdout, predicted: Predicted, one_fit: Predicted | None
) -> pd.DataFrame:
    """Return a candidate's predictions for the hold-out in the form of `holdout.parquet`, the file in its MLflow run.

    Args:
        spec: the project.
        training_data: the labelled rows.
        holdout: the unseen rows among them.
        predicted: (m,) the candidate's predictions.
        one_fit: (m,) predictions of a single fit, where the validation strategy walks forward.

    Returns:
        frame (event_id, event_time, truth, prediction, probability_CLASS..., and one_fit, one_fit_CLASS... if given).
    """
    frame = pd.DataFrame({"event_id": holdout.ids, "event_time": training_data.times.iloc[holdout.rows].to_numpy()})
    frame["truth"] = training_data.target[holdout.rows]
    _put(frame, spec, predicted, "prediction", "probability")
    if one_fit is not None:
        _put(frame, spec, one_fit, "one_fit", "one_fit")
    return frame


def _put(frame: pd.DataFrame, spec: ProjectSpec, predicted: Predicted, column: str, prefix: str) -> None:
    frame[column] = predicted.value
    if predicted.probabilities is not None:
        for position, name in enumerate(spec.classes):
            frame[f"{prefix}_{name}"] = predicted.probabilities[:, position]


def predicted_in(
    spec: ProjectSpec, frame: pd.DataFrame, column: str = "prediction", prefix: str = "probability"
) -> Predicted:
    """Return the predictions that a frame's columns hold (see `holdout_frame`)."""
    names = [f"{prefix}_{name}" for name in spec.classes]
    value = frame[column].to_numpy(dtype=np.float64 if spec.problem.task == "regression" else object)
    probabilities = frame[names].to_numpy(dtype=np.float64) if names and all(name in frame for name in names) else None
    return Predicted(value, probabilities)
