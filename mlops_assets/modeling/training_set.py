"""Training set and candidate on disk: what the modeling assets hand on, and where a hold-out's inputs come from."""

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
from mlops_assets.evaluation.training_data import Prepared
from mlops_assets.prediction.features import FeatureDefinitions, FeatureMatrix, compute
from mlops_assets.prediction.inputs import Inputs, InputSchema, from_records
from mlops_assets.prediction.records import EPOCH
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, event_id

Answers = Callable[[datetime, datetime], pd.DataFrame]
"""The recorded answers to events with start <= event time < end: event_id, role, version, inputs, prediction,
probabilities; by whoever served, and by the shadow."""


@dataclass(frozen=True)
class Holdout:
    """The unseen rows, with the inputs that both sides answer them from.

    Attributes:
        rows: positions in the dataset.
        ids: event id of each.
        inputs: of each row; as recorded with its answer, or cut from published data.
        recorded: whether they are the recorded ones.
        answers: the recorded answers, one row per event and role; empty when cut from published data.
    """

    rows: np.ndarray[Any, np.dtype[np.int64]]
    ids: list[str]
    inputs: Inputs
    recorded: bool
    answers: pd.DataFrame

    def __len__(self) -> int:
        return len(self.rows)


def holdout_of(timeline: Timeline, dataset: pd.DataFrame, prepared: Prepared, answers: Answers | None) -> Holdout:
    """The unseen rows of a dataset.

    Args:
        timeline: the project's time.
        dataset: the labelled rows.
        prepared: the same, cut.
        answers: gives the recorded answers; None without a champion, or where the columns changed since: then the
            inputs are those of published data as known when each answer was due.
    """
    rows = np.flatnonzero(prepared.split.holdout)
    chosen = dataset.iloc[rows]
    entities = chosen["entity"] if "entity" in chosen else [None] * len(chosen)
    ids = [
        event_id(timeline.project, entity, time.to_pydatetime())
        for time, entity in zip(chosen["event_time"], entities, strict=True)
    ]
    if answers is None:
        return Holdout(rows, ids, prepared.inputs.take(rows), False, pd.DataFrame())
    known = answers(*_span(chosen["event_time"]))
    known = known[known["event_id"].isin(ids)].reset_index(drop=True)
    champion = known[known["role"] == "champion"].set_index("event_id")
    # Missed events have no recorded inputs and count for neither side.
    present = [position for position, identity in enumerate(ids) if identity in champion.index]
    ids = [ids[position] for position in present]
    schema = InputSchema.of(timeline.spec)
    inputs = from_records(list(champion.loc[ids, "inputs"]), schema) if ids else prepared.inputs.take(rows[:0])
    return Holdout(rows[present], ids, inputs, True, known)


def _span(times: pd.Series[Any]) -> tuple[datetime, datetime]:
    """From the first to just behind the last of these times; nothing, where there are none."""
    if times.empty:
        return EPOCH, EPOCH
    return times.min().to_pydatetime(), times.max().to_pydatetime() + timedelta(microseconds=1)


class TrainingSetFacts(BaseModel):
    """`training_set.json`: what the features in `training_set.npz` were made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    tag: str
    as_of: datetime
    rows: int
    holdout_rows: int
    recorded: bool
    definitions: FeatureDefinitions


def write_training_set(path: Path, matrix: FeatureMatrix, holdout_matrix: FeatureMatrix) -> None:
    """Write both matrices whole (float64)."""
    with path.open("wb") as file:
        np.savez_compressed(file, matrix=matrix, holdout=holdout_matrix)


def read_training_set(path: Path) -> tuple[FeatureMatrix, FeatureMatrix]:
    """The features of all labelled rows, and those of the hold-out."""
    with np.load(path, allow_pickle=False) as stored:
        return stored["matrix"], stored["holdout"]


def holdout_features(definitions: FeatureDefinitions, holdout: Holdout, matrix: FeatureMatrix) -> FeatureMatrix:
    """The hold-out's features: computed from the recorded inputs, or those of the published data."""
    return compute(definitions, holdout.inputs) if holdout.recorded else matrix[holdout.rows]


def holdout_frame(
    spec: ProjectSpec, prepared: Prepared, holdout: Holdout, found: Predicted, one_fit: Predicted | None
) -> pd.DataFrame:
    """The candidate's answers to the hold-out, as they are kept with its version."""
    frame = pd.DataFrame({"event_id": holdout.ids, "event_time": prepared.times.iloc[holdout.rows].to_numpy()})
    frame["truth"] = prepared.target[holdout.rows]
    frame["prediction"] = found.value
    for position, name in enumerate(spec.classes if found.probabilities is not None else []):
        frame[f"probability_{name}"] = found.probabilities[:, position] if found.probabilities is not None else None
    if one_fit is not None:
        frame["one_fit"] = one_fit.value
        for position, name in enumerate(spec.classes if one_fit.probabilities is not None else []):
            frame[f"one_fit_{name}"] = one_fit.probabilities[:, position] if one_fit.probabilities is not None else None
    return frame


def predicted_in(
    spec: ProjectSpec, frame: pd.DataFrame, column: str = "prediction", prefix: str = "probability"
) -> Predicted:
    """The answers in a frame's columns."""
    names = [f"{prefix}_{name}" for name in spec.classes]
    value = frame[column].to_numpy(dtype=np.float64 if spec.problem.task == "regression" else object)
    shares = frame[names].to_numpy(dtype=np.float64) if names and all(name in frame for name in names) else None
    return Predicted(value, shares)
