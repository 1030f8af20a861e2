"""The judge: candidate, champion and baseline on the same unseen rows, and the gate's verdict on them.

`feasibility` and `evaluation` both ask it, so that a PoC and a candidate are measured with the same yardstick.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.losses import block_bootstrap, loss
from mlops_assets.retraining.records import Verdict
from mlops_assets.spec import ProjectSpec

BLOCK = timedelta(days=1)
"""Length of a bootstrap block: neighbouring errors hang together within a day."""


@dataclass(frozen=True)
class Side:
    """One set of answers to the unseen rows.

    Attributes:
        value: (n,) predictions, float64 or class names.
        probabilities: per class (n,), for classification models that give them.
    """

    value: npt.NDArray[np.float64] | npt.NDArray[np.object_]
    probabilities: dict[str, npt.NDArray[np.float64]] | None = None

    def take(self, rows: npt.NDArray[np.int64]) -> Side:
        """The answers at some positions."""
        some = None if self.probabilities is None else {k: v[rows] for k, v in self.probabilities.items()}
        return Side(self.value[rows], some)


@dataclass(frozen=True)
class Judgement:
    """What the judge found."""

    verdict: Verdict
    reasons: list[str]
    rows: int
    candidate_loss: float
    rival_loss: float
    """Of the champion; of the baseline where there is none."""
    baseline_loss: float
    champion_loss: float | None = None
    one_fit_loss: float | None = None
    interval: tuple[float, float] | None = None
    recomputed: int = 0
    forced: bool = False

    @property
    def gain(self) -> float:
        """Share by which the candidate's loss lies below its rival's."""
        return 1 - self.candidate_loss / self.rival_loss if self.rival_loss else 0.0


class Judge:
    """Measures sides over the rows that all of them answer.

    Args:
        spec: the project; its metric, margin, success criterion and least number of rows count.
        event_times: (n,) aware UTC times of the unseen rows.
        truth: (n,) targets.
        baseline: (n,) the naive answers; NaN or None where there is none, these rows count for nobody.
    """

    def __init__(
        self, spec: ProjectSpec, event_times: pd.Series, truth: npt.NDArray[np.object_] | npt.NDArray[np.float64], baseline: Side
    ) -> None:
        self.spec = spec
        keep = ~pd.isna(pd.Series(baseline.value)).to_numpy()
        self.kept = np.flatnonzero(keep)
        self.times = event_times.reset_index(drop=True).iloc[self.kept]
        self.truth = truth[self.kept]
        self.baseline = baseline.take(self.kept)

    def loss_of(self, side: Side, rows: npt.NDArray[np.int64] | None = None) -> float:
        """Loss of one side over the kept rows (or some positions among them)."""
        chosen = np.arange(len(self.kept)) if rows is None else rows
        some = side.take(chosen)
        return loss(
            self.spec.problem.metric, self.truth[chosen], some.value, some.probabilities, self.spec.classes or None
        )

    def against_baseline(self, candidate: Side, *, force: bool = False) -> Judgement:
        """Without a champion: is it better than the naive answer by the success criterion?"""
        wanted = self.spec.problem.success.better_than_baseline_by
        candidate = candidate.take(self.kept)
        baseline_loss = self.loss_of(self.baseline)
        found = self._judgement(candidate, self.baseline, baseline_loss, wanted, "baseline")
        if found.verdict == "HOLD" and force:
            reasons = [*found.reasons, "forced by a person"]
            return replace(found, verdict="PROMOTE", reasons=reasons, forced=True)
        return found

    def against_champion(
        self, candidate: Side, champion: Side, *, recomputed: int = 0, one_fit: Side | None = None
    ) -> Judgement:
        """With a champion: is it better by the margin on rows that neither has seen?"""
        candidate, champion = candidate.take(self.kept), champion.take(self.kept)
        champion_loss = self.loss_of(champion)
        found = self._judgement(candidate, champion, champion_loss, self.spec.promotion.margin, "champion")
        one_fit_loss = None if one_fit is None else self.loss_of(one_fit.take(self.kept))
        return replace(found, champion_loss=champion_loss, recomputed=recomputed, one_fit_loss=one_fit_loss)

    def _judgement(self, candidate: Side, rival: Side, rival_loss: float, margin: float, name: str) -> Judgement:
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
        return Judgement(
            verdict=verdict,
            reasons=[reason],
            rows=rows,
            candidate_loss=candidate_loss,
            rival_loss=rival_loss,
            baseline_loss=self.loss_of(self.baseline),
            interval=self._interval(candidate, rival) if rows else None,
        )

    def _interval(self, candidate: Side, rival: Side) -> tuple[float, float]:
        return block_bootstrap(
            self.times,
            lambda rows: self.loss_of(rival, rows) - self.loss_of(candidate, rows),
            block=BLOCK,
            seed=0,
            draws=300,
        )


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
