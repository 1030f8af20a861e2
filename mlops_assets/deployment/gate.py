"""The gate: it records the verdict of an evaluation, and promotes the candidate when the verdict is PROMOTE."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mlops_assets.context import ProjectContext
from mlops_assets.deployment.promotion import Promoter, promotion_id
from mlops_assets.errors import ModelError, NotReady, Refused
from mlops_assets.evaluation.evaluator import Evaluation
from mlops_assets.evaluation.result import FILE, EvaluationResult
from mlops_assets.ledger.facts import GateVerdict, PromotionStep, TrainingEnded, Verdict, VersionTrained
from mlops_assets.ledger.facts.promotions import PromotionCause
from mlops_assets.retraining.requests import TrainingRequest

CAUSES: dict[str, PromotionCause] = {
    "bootstrap": "bootstrap",
    "policy": "retraining",
    "person": "retraining",
    "hand": "hand",
}
"""The cause of a promotion, by who requested the training."""


@dataclass(frozen=True)
class Outcome:
    """The result of the gate for one candidate.

    Attributes:
        verdict: the recorded verdict.
        promotion: the promotion's last step; None when the candidate was not promoted.
    """

    verdict: GateVerdict
    promotion: PromotionStep | None


def read_evaluation(context: ProjectContext, run_id: str) -> tuple[VersionTrained, EvaluationResult]:
    """Return the candidate and the evaluation of a run, or of the newest run that has one.

    Args:
        context: the project.
        run_id: the run of the asset `champion`.

    Raises:
        NotReady: no candidate was evaluated, or the ledger does not know the version that was.
    """
    content = context.run_artifacts(run_id).find(FILE, "evaluation").read_text()
    result = EvaluationResult.model_validate_json(content)
    known = context.ledger_view().versions
    if result.version not in known:
        raise NotReady(
            context.spec.name,
            FILE,
            f"it evaluates version {result.version}, the ledger knows {sorted(known)}",
            "materialize candidate_model and evaluation again",
        )
    return known[result.version], result


def pass_gate(
    context: ProjectContext, training_request: TrainingRequest, version: VersionTrained, result: EvaluationResult
) -> Outcome:
    """Record the verdict on a candidate, and promote it if the verdict is PROMOTE.

    A candidate that does not load in the running service, or does not reproduce its reference predictions there, is
    rejected.

    Args:
        context: the project.
        training_request: who requested the training, or the evaluation by hand.
        version: the candidate.
        result: its evaluation.

    Raises:
        Refused: the champion is not the one that the candidate was compared with, or the candidate is the champion.
    """
    view, now, evaluation = context.ledger_view(), context.now(), result.evaluation
    champion = view.deployment_period.version if view.deployment_period is not None else None
    if champion != result.champion or version.version == champion:
        raise Refused(
            view.project,
            f"version {version.version}",
            f"it was compared with version {result.champion}; the champion now is version {champion}",
            "materialize evaluation again, with the candidate that you want to deploy",
        )
    verdict = _verdict(training_request, version, result, now, evaluation.verdict, evaluation.reasons)
    if evaluation.verdict != "PROMOTE":
        context.ledger.append(view.project, verdict, _ended(training_request, version, verdict))
        return Outcome(verdict, None)
    try:
        step = Promoter(context).promote(
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
        rejected = _verdict(training_request, version, result, now, "REJECT", [str(error)])
        context.ledger.append(view.project, rejected, _ended(training_request, version, rejected))
        return Outcome(rejected, None)
    context.ledger.append(view.project, _ended(training_request, version, verdict))
    return Outcome(verdict, step)


def _verdict(
    training_request: TrainingRequest,
    version: VersionTrained,
    result: EvaluationResult,
    now: datetime,
    verdict: Verdict,
    reasons: list[str],
) -> GateVerdict:
    found: Evaluation = result.evaluation
    return GateVerdict(
        at=now,
        training=training_request.training,
        by=training_request.by,
        verdict=verdict,
        reasons=reasons,
        version=version.version,
        champion=result.champion,
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
    # an evaluation by hand, too, clears active triggers and starts the cooldown
    ended = training_request.ended("JUDGED", version.as_of, reason=f"{verdict.verdict}: {' '.join(verdict.reasons)}")
    return ended.model_copy(update={"consumes": training_request.by != "bootstrap"})
