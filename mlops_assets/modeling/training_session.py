"""One training as the modeling assets see it: its dataset, what may be seen of it, and the champion to beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

import pandas as pd

from mlops_assets.evaluation.metrics import is_defined
from mlops_assets.evaluation.training_data import Prepared, prepare
from mlops_assets.ledger.facts import VersionTrained
from mlops_assets.ledger.view import LedgerView
from mlops_assets.modeling.training_set import Answers, Holdout, holdout_of
from mlops_assets.prediction.inputs import InputSchema
from mlops_assets.prediction.predictor import inputs_of
from mlops_assets.timeline import Timeline


@dataclass(frozen=True)
class Session:
    """A training in progress.

    Args:
        timeline: the project's time.
        history: its ledger.
        dataset: the training snapshot.
        answers: gives recorded answers by event id.
        bundle: gives the local folder of a version.
        as_of: when the snapshot was taken.
        alone: nobody is to be beaten: a training by hand needs no rows that the champion has not seen.
    """

    timeline: Timeline
    view: LedgerView
    dataset: pd.DataFrame
    answers: Answers
    bundle: Callable[[int], Path]
    as_of: datetime
    alone: bool = False

    @cached_property
    def champion(self) -> VersionTrained | None:
        """The version that serves, and is to be beaten."""
        deployment_period = None if self.alone else self.view.deployment_period
        return None if deployment_period is None else self.view.versions[deployment_period.version]

    @cached_property
    def _cut(self) -> Prepared:
        return prepare(self.timeline, self.dataset, None if self.champion is None else self.champion.as_of)

    def out_of_reach(self, version: VersionTrained) -> list[str]:
        """What a version is asked with and the YAML no longer declares so."""
        return inputs_of(self.bundle(version.version)).out_of_reach(self.timeline.spec)

    @cached_property
    def holdout(self) -> Holdout:
        """The unseen rows; from recorded inputs where there is a champion that is asked with the same."""
        same = self.champion is not None and inputs_of(self.bundle(self.champion.version)).asks_like(
            InputSchema.of(self.timeline.spec)
        )
        return holdout_of(self.timeline, self.dataset, self._cut, self.answers if same else None)

    @cached_property
    def prepared(self) -> Prepared:
        """The dataset, cut; its hold-out holds the rows that can be judged on."""
        return replace(self._cut, split=self._cut.split.answered(self.holdout.rows))

    @property
    def too_early(self) -> str | None:
        """Why nothing can be judged yet; None when there are enough unseen rows, of every class where that matters."""
        spec, rows = self.timeline.spec, self.prepared.split.rows
        if rows < (needed := spec.promotion.min_rows):
            since = "the hold-out" if self.champion is None else f"version {self.champion.version} was trained"
            return f"Too early to judge: {rows} unseen labelled rows since {since}, {needed} are needed."
        truth = self.prepared.target[self.prepared.split.holdout]
        if is_defined(spec.problem.metric, truth, spec.classes):
            return None
        absent = ", ".join(name for name in spec.classes if name not in set(truth))
        return f"Too early to judge: none of {rows} unseen labelled rows is {absent}; {spec.problem.metric} needs each."
