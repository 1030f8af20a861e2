"""The data of one training: its dataset, the split, the hold-out, and the champion that a candidate must beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import pandas as pd

from mlops_assets.evaluation.metrics import is_defined
from mlops_assets.evaluation.splits import too_few_unseen_rows
from mlops_assets.evaluation.training_data import TrainingData, prepare_training_data
from mlops_assets.ledger.facts import VersionTrained
from mlops_assets.ledger.view import LedgerView
from mlops_assets.modeling.training_set import Holdout, ReadPredictions, read_holdout
from mlops_assets.prediction.bundle import read_input_schema
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.timeline import Timeline


@dataclass(frozen=True)
class TrainingSession:
    """The data of a training in progress.

    Attributes:
        timeline: the project's time.
        view: what the ledger holds about the project.
        dataset: the labelled rows of the training snapshot.
        read_predictions: reads logged predictions.
        bundle: returns the local folder of a version.
        as_of: when the snapshot was taken.
        without_champion: compare with the baseline only. Used by a training by hand when there are no rows that the
            champion has not been trained on.
    """

    timeline: Timeline
    view: LedgerView
    dataset: pd.DataFrame
    read_predictions: ReadPredictions
    bundle: Callable[[int], Path]
    as_of: datetime
    without_champion: bool = False

    @cached_property
    def champion(self) -> VersionTrained | None:
        """The version that a candidate must beat; None without one."""
        period = None if self.without_champion else self.view.deployment_period
        return None if period is None else self.view.versions[period.version]

    def undeclared_inputs(self, version: VersionTrained) -> list[str]:
        """Return the inputs of a version that the YAML no longer declares as they were when it was trained."""
        return read_input_schema(self.bundle(version.version)).undeclared_inputs(self.timeline.spec)

    @cached_property
    def _all_labelled(self) -> TrainingData:
        champion_as_of = None if self.champion is None else self.champion.as_of
        return prepare_training_data(self.timeline, self.dataset, champion_as_of)

    @cached_property
    def holdout(self) -> Holdout:
        """The unseen rows, with logged inputs where there is a champion that takes the inputs of today's YAML."""
        same = self.champion is not None and read_input_schema(self.bundle(self.champion.version)).accepts_requests_of(
            InputSchema.of(self.timeline.spec)
        )
        return read_holdout(self.timeline, self.dataset, self._all_labelled, self.read_predictions if same else None)

    @cached_property
    def training_data(self) -> TrainingData:
        """The dataset's inputs and labels; its hold-out has only the rows of `holdout`."""
        data = self._all_labelled
        return replace(data, split=data.split.with_holdout_of(self.holdout.rows))

    @property
    def too_few_unseen(self) -> str | None:
        """Why no candidate can be evaluated yet; None when there are enough unseen rows, if needed of each class."""
        spec, rows = self.timeline.spec, self.training_data.split.rows
        if (reason := too_few_unseen_rows(spec, rows)) is not None:
            where = "in the hold-out" if self.champion is None else f"since version {self.champion.version} was trained"
            return f"{reason} {where}."
        labels = self.training_data.target[self.training_data.split.holdout]
        if is_defined(spec.problem.metric, labels, spec.classes):
            return None
        absent = ", ".join(name for name in spec.classes if name not in set(labels))
        return f"None of the {rows} unseen labelled rows is {absent}; {spec.problem.metric} needs rows of each class."
