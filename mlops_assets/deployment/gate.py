"""The gate: from a evaluation to a verdict, and on PROMOTE to a promotion. Every verdict is recorded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from mlops_assets.deployment.promotion import Cause, Promoter
from mlops_assets.errors import ModelError, Refused
from mlops_assets.evaluation.evaluator import Evaluation
from mlops_assets.ledger.facts import GateVerdict, PromotionStep, TrainingEnded, Verdict, VersionTrained
from mlops_assets.ledger.view import LedgerView
from mlops_assets.retraining.requests import TrainingRequest

CAUSES: dict[str, Cause] = {"bootstrap": "bootstrap", "policy": "retraining", "person": "retraining", "hand": "hand"}


@dataclass(frozen=True)
class Outcome:
    """What came of a candidate."""

    verdict: GateVerdict
    promotion: PromotionStep | None


def pass_gate(
    promoter: Promoter,
    view: LedgerView,
    training_request: TrainingRequest,
    version: VersionTrained,
    evaluation: Evaluation,
    *,
    judged_against: int | None,
    now: datetime,
) -> Outcome:
    """Record the verdict on a candidate, and let it serve if it passed.

    Args:
        promoter: moves the champion.
        history: the project's ledger.
        training request: who asked for the training, or for the evaluation by hand.
        version: the candidate.
        evaluation: what the evaluator found.
        judged_against: the champion it was judged against; None for the baseline.
        now: the project's time.

    Raises:
        Refused: when the champion is not the one that it was judged against, or the candidate serves already.
    """
    present = view.deployment_period.version if view.deployment_period is not None else None
    if present != judged_against or version.version == present:
        raise Refused(
            view.project,
            f"version {version.version}",
            f"it was judged against version {judged_against}, serving now is {present}",
            "materialize evaluation again, with the candidate that is meant",
        )
    verdict = _verdict(training_request, version, evaluation, judged_against, now)
    if evaluation.verdict != "PROMOTE":
        promoter.ledger.append(view.project, verdict, _ended(training_request, version, verdict))
        return Outcome(verdict, None)
    try:
        step = promoter.promote(
            version.version,
            promotion=promotion_id(view.project, training_request.training, version.version),
            cause=CAUSES[training_request.by],
            now=now,
            with_facts=[verdict],
            training=training_request.training,
            decision=training_request.decision,
            reason=" ".join(evaluation.reasons),
        )
    except ModelError as error:
        rejected = _verdict(training_request, version, evaluation, judged_against, now, "REJECT", [str(error)])
        promoter.ledger.append(view.project, rejected, _ended(training_request, version, rejected))
        return Outcome(rejected, None)
    promoter.ledger.append(view.project, _ended(training_request, version, verdict))
    return Outcome(verdict, step)


def promotion_id(project: str, cause: str, version: int) -> str:
    """The name of a promotion: the same training promoting the same version again is the same promotion."""
    return hashlib.sha256(f"{project}\x1f{cause}\x1f{version}".encode()).hexdigest()[:16]


def _verdict(
    training_request: TrainingRequest,
    version: VersionTrained,
    found: Evaluation,
    champion: int | None,
    now: datetime,
    verdict: Verdict | None = None,
    reasons: list[str] | None = None,
) -> GateVerdict:
    return GateVerdict(
        at=now,
        training=training_request.training,
        by=training_request.by,
        verdict=verdict or found.verdict,
        reasons=reasons or found.reasons,
        version=version.version,
        champion=champion,
        champion_loss=found.champion_loss,
        candidate_loss=found.candidate_loss,
        baseline_loss=found.baseline_loss,
        one_fit_loss=found.one_fit_loss,
        shadow_loss=found.shadow_loss,
        interval=found.interval,
        rows=found.rows,
        recomputed=found.recomputed,
        forced=found.forced,
        as_of=version.as_of,
        run_id=training_request.run_id,
    )


def _ended(training_request: TrainingRequest, version: VersionTrained, verdict: GateVerdict) -> TrainingEnded:
    # A evaluation by hand is a person's: it consumes evidence and starts the cooldown, as any other.
    ended = training_request.ended("JUDGED", version.as_of, reason=f"{verdict.verdict}: {' '.join(verdict.reasons)}")
    return ended.model_copy(update={"consumes": training_request.by != "bootstrap"})
