"""Comparison of a candidate with the champion or the baseline on the same unseen rows, and the verdict that follows.

The assets `feasibility` and `evaluation` both use it, so that a feasibility model and a candidate are measured alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from mlops_assets.evaluation.intervals import difference_interval
from mlops_assets.evaluation.metrics import Predicted, Values, predicted_loss
from mlops_assets.evaluation.splits import too_few_unseen_rows
from mlops_assets.ledger.facts import Verdict
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Times

BLOCK = timedelta(days=1)
"""Length of a bootstrap block: errors are correlated within a day."""


@dataclass(frozen=True)
class Evaluation:
    """The outcome of a comparison on the hold-out.

    Attributes:
        verdict: PROMOTE or HOLD.
        reasons: sentences for people.
        rows: number of rows compared.
        candidate_loss: loss of the candidate.
        baseline_loss: loss of the naive baseline.
        champion_loss: loss of the champion; None without one.
        one_fit_loss: loss of the candidate fitted once, where the validation strategy walks forward; else None.
        shadow_loss: loss of the version that will run in shadow if the candidate is promoted; None without one.
        interval: 95 % interval of the champion's (or, without one, the baseline's) loss - the candidate's loss.
        recomputed: rows for which the champion's prediction was recomputed, since another version had predicted them.
        forced: a person promoted a first model that missed the success criterion.
    """

    verdict: Verdict
    reasons: list[str]
    rows: int
    candidate_loss: float
    baseline_loss: float
    champion_loss: float | None = None
    one_fit_loss: float | None = None
    shadow_loss: float | None = None
    interval: tuple[float, float] | None = None
    recomputed: int = 0
    forced: bool = False

    @property
    def required_loss(self) -> float:
        """The loss that the candidate is compared with: the champion's, or the baseline's without a champion."""
        return self.baseline_loss if self.champion_loss is None else self.champion_loss

    @property
    def gain(self) -> float:
        """Share by which the candidate's loss is lower than `required_loss`; 0 when that is 0."""
        return _gain(self.candidate_loss, self.required_loss)


class Evaluator:
    """Compares predictions over the rows for which the baseline has a prediction.

    Args:
        spec: the project: metric, margin, success criterion and minimum number of rows.
        event_times: (n,) datetime64[ns], UTC, of the unseen rows.
        labels: (n,) their labels.
        baseline: (n,) the baseline's predictions; rows without one are left out for all.

    Attributes:
        kept: positions of the rows that are compared.
    """

    def __init__(self, spec: ProjectSpec, event_times: Times, labels: Values, baseline: Predicted) -> None:
        self.spec = spec
        self.kept = np.flatnonzero(baseline.present)
        self._times, self._labels, self._baseline = event_times[self.kept], labels[self.kept], baseline.take(self.kept)

    def loss_of(self, predicted: Predicted) -> float:
        """Return the loss of (n,) predictions over the kept rows."""
        return self._loss(predicted.take(self.kept))

    def against_baseline(self, candidate: Predicted, *, force: bool = False) -> Evaluation:
        """Compare a first model with the baseline, by the success criterion.

        Args:
            candidate: (n,) its predictions.
            force: promote it although it misses the criterion.
        """
        margin = self.spec.problem.success.better_than_baseline_by
        evaluation = self._compare(candidate.take(self.kept), self._baseline, margin, "baseline")
        if evaluation.verdict == "HOLD" and force:
            reasons = [*evaluation.reasons, "forced by a person"]
            return replace(evaluation, verdict="PROMOTE", reasons=reasons, forced=True)
        return evaluation

    def against_champion(
        self, candidate: Predicted, champion: Predicted, *, recomputed: int = 0, one_fit: Predicted | None = None
    ) -> Evaluation:
        """Compare a candidate with the champion, by the promotion margin, on rows that neither was trained on.

        Args:
            candidate: (n,) its predictions.
            champion: (n,) the champion's predictions.
            recomputed: rows for which the champion's prediction was recomputed.
            one_fit: (n,) predictions of the candidate fitted once, where the validation strategy walks forward.
        """
        champion = champion.take(self.kept)
        evaluation = self._compare(candidate.take(self.kept), champion, self.spec.promotion.margin, "champion")
        return replace(
            evaluation,
            champion_loss=self._loss(champion),
            recomputed=recomputed,
            one_fit_loss=None if one_fit is None else self.loss_of(one_fit),
        )

    def _compare(self, candidate: Predicted, other: Predicted, margin: float, name: str) -> Evaluation:
        rows, metric = len(self.kept), self.spec.problem.metric
        candidate_loss, other_loss = self._loss(candidate), self._loss(other)
        gain = _gain(candidate_loss, other_loss)
        losses = f"{metric} loss {candidate_loss:.4g}, {name} {other_loss:.4g}, on {rows} unseen rows"
        verdict: Verdict = "HOLD"
        if (too_few := too_few_unseen_rows(self.spec, rows)) is not None:
            reason = f"{too_few}: {losses}."
        elif gain < margin or other_loss == 0:
            compared = f"{_percent(gain)} better" if gain >= 0 else f"{_percent(-gain)} worse"
            reason = f"{compared} than the {name} ({_percent(margin)} better is required): {losses}."
        else:
            verdict = "PROMOTE"
            reason = f"{_percent(gain)} better than the {name} ({_percent(margin)} is required): {losses}."
        return Evaluation(
            verdict=verdict,
            reasons=[reason],
            rows=rows,
            candidate_loss=candidate_loss,
            baseline_loss=self._loss(self._baseline),
            interval=self._interval(candidate, other),
        )

    def _loss(self, kept: Predicted) -> float:
        return predicted_loss(self.spec.problem.metric, self._labels, kept, self.spec.classes or None)

    def _interval(self, candidate: Predicted, other: Predicted) -> tuple[float, float] | None:
        return difference_interval(
            self.spec.problem.metric,
            self._times,
            self._labels,
            other,
            candidate,
            block=BLOCK,
            seed=0,
            classes=self.spec.classes or None,
        )


def _gain(loss: float, required: float) -> float:
    return 1 - loss / required if required else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
