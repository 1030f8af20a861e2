"""The judge: candidate, champion and baseline on the same unseen rows, and the gate's verdict on them.

`feasibility` and `evaluation` both ask it, so that a feasibility model and a candidate are measured with the same yardstick.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from mlops_assets.evaluation.metrics import Predicted, Values, difference_interval, predicted_loss
from mlops_assets.ledger.facts import Verdict
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Times

BLOCK = timedelta(days=1)
"""Length of a bootstrap block: neighbouring errors hang together within a day."""


@dataclass(frozen=True)
class Evaluation:
    """What the evaluator found."""

    verdict: Verdict
    reasons: list[str]
    rows: int
    candidate_loss: float
    rival_loss: float
    """Of the champion; of the baseline where there is none."""
    baseline_loss: float
    champion_loss: float | None = None
    one_fit_loss: float | None = None
    shadow_loss: float | None = None
    interval: tuple[float, float] | None = None
    recomputed: int = 0
    forced: bool = False

    @property
    def gain(self) -> float:
        """Share by which the candidate's loss lies below its rival's."""
        return 1 - self.candidate_loss / self.rival_loss if self.rival_loss else 0.0


class Evaluator:
    """Measures sides over the rows that all of them answer.

    Args:
        spec: the project; its metric, margin, success criterion and least number of rows count.
        event_times: (n,) datetime64[ns], UTC, of the unseen rows.
        truth: (n,) targets.
        baseline: (n,) the naive answers; a row without one counts for nobody.
    """

    def __init__(self, spec: ProjectSpec, event_times: Times, truth: Values, baseline: Predicted) -> None:
        self.spec = spec
        self.kept = np.flatnonzero(baseline.present)
        self.times, self.truth, self.baseline = event_times[self.kept], truth[self.kept], baseline.take(self.kept)

    def loss_of(self, side: Predicted) -> float:
        """Loss of one side over the kept rows."""
        return predicted_loss(self.spec.problem.metric, self.truth, side, self.spec.classes or None)

    def against_baseline(self, candidate: Predicted, *, force: bool = False) -> Evaluation:
        """Without a champion: is it better than the naive answer by the success criterion?"""
        wanted = self.spec.problem.success.better_than_baseline_by
        candidate = candidate.take(self.kept)
        baseline_loss = self.loss_of(self.baseline)
        found = self._evaluation(candidate, self.baseline, baseline_loss, wanted, "baseline")
        if found.verdict == "HOLD" and force:
            reasons = [*found.reasons, "forced by a person"]
            return replace(found, verdict="PROMOTE", reasons=reasons, forced=True)
        return found

    def against_champion(
        self, candidate: Predicted, champion: Predicted, *, recomputed: int = 0, one_fit: Predicted | None = None
    ) -> Evaluation:
        """With a champion: is it better by the margin on rows that neither has seen?"""
        candidate, champion = candidate.take(self.kept), champion.take(self.kept)
        champion_loss = self.loss_of(champion)
        found = self._evaluation(candidate, champion, champion_loss, self.spec.promotion.margin, "champion")
        one_fit_loss = None if one_fit is None else self.loss_of(one_fit.take(self.kept))
        return replace(found, champion_loss=champion_loss, recomputed=recomputed, one_fit_loss=one_fit_loss)

    def _evaluation(
        self, candidate: Predicted, rival: Predicted, rival_loss: float, margin: float, name: str
    ) -> Evaluation:
        rows, metric = len(self.kept), self.spec.problem.metric
        candidate_loss = self.loss_of(candidate)
        gain = 1 - candidate_loss / rival_loss if rival_loss else 0.0
        compared = f"loss ({metric}) {candidate_loss:.4g} against the {name}'s {rival_loss:.4g} on {rows} unseen rows"
        if rows < self.spec.promotion.min_rows:
            verdict: Verdict = "HOLD"
            reason = f"Too early to judge: {rows} unseen rows, {self.spec.promotion.min_rows} are needed; {compared}."
        elif gain < margin or rival_loss == 0:
            verdict = "HOLD"
            reason = f"Not better by the margin: {compared}, {_share(gain)} lower where {_share(margin)} is asked."
        else:
            verdict = "PROMOTE"
            reason = f"Better by {_share(gain)}, {_share(margin)} is asked: {compared}."
        return Evaluation(
            verdict=verdict,
            reasons=[reason],
            rows=rows,
            candidate_loss=candidate_loss,
            rival_loss=rival_loss,
            baseline_loss=self.loss_of(self.baseline),
            interval=self._interval(candidate, rival),
        )

    def _interval(self, candidate: Predicted, rival: Predicted) -> tuple[float, float] | None:
        return difference_interval(
            self.spec.problem.metric,
            self.times,
            self.truth,
            rival,
            candidate,
            block=BLOCK,
            seed=0,
            classes=self.spec.classes or None,
        )


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
