"""The gate: from a judgement to a verdict, and on PROMOTE to a promotion. Every verdict is recorded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from mlops_assets.deployment.promotion import Cause, Promoter
from mlops_assets.errors import ModelError, Refused
from mlops_assets.retraining.history import History
from mlops_assets.retraining.judge import Judgement
from mlops_assets.retraining.records import Judged, PromotionStep, TrainingEnded, Verdict, VersionTrained
from mlops_assets.retraining.training import Ticket

CAUSES: dict[str, Cause] = {"bootstrap": "bootstrap", "policy": "retraining", "person": "retraining", "hand": "hand"}


@dataclass(frozen=True)
class Outcome:
    """What came of a candidate."""

    verdict: Judged
    promotion: PromotionStep | None


def pass_gate(
    promoter: Promoter,
    history: History,
    ticket: Ticket,
    version: VersionTrained,
    judgement: Judgement,
    *,
    judged_against: int | None,
    now: datetime,
) -> Outcome:
    """Record the verdict on a candidate, and let it serve if it passed.

    Args:
        promoter: moves the champion.
        history: the project's ledger.
        ticket: who asked for the training, or for the judgement by hand.
        version: the candidate.
        judgement: what the judge found.
        judged_against: the champion it was judged against; None for the baseline.
        now: the project's time.

    Raises:
        Refused: when the champion is not the one that it was judged against, or the candidate serves already.
    """
    present = history.reign.version if history.reign is not None else None
    if present != judged_against or version.version == present:
        raise Refused(
            history.project,
            f"version {version.version}",
            f"it was judged against version {judged_against}, serving now is {present}",
            "materialize evaluation again, with the candidate that is meant",
        )
    verdict = _verdict(ticket, version, judgement, judged_against, now)
    if judgement.verdict != "PROMOTE":
        promoter.ledger.append(history.project, verdict, _ended(ticket, version, verdict))
        return Outcome(verdict, None)
    try:
        step = promoter.promote(
            version.version,
            promotion=promotion_id(history.project, ticket.training, version.version),
            cause=CAUSES[ticket.by],
            now=now,
            beside=[verdict],
            training=ticket.training,
            decision=ticket.decision,
            reason=" ".join(judgement.reasons),
        )
    except ModelError as error:
        rejected = _verdict(ticket, version, judgement, judged_against, now, "REJECT", [str(error)])
        promoter.ledger.append(history.project, rejected, _ended(ticket, version, rejected))
        return Outcome(rejected, None)
    promoter.ledger.append(history.project, _ended(ticket, version, verdict))
    return Outcome(verdict, step)


def promotion_id(project: str, cause: str, version: int) -> str:
    """The name of a promotion: the same training promoting the same version again is the same promotion."""
    return hashlib.sha256(f"{project}\x1f{cause}\x1f{version}".encode()).hexdigest()[:16]


def _verdict(
    ticket: Ticket,
    version: VersionTrained,
    found: Judgement,
    champion: int | None,
    now: datetime,
    verdict: Verdict | None = None,
    reasons: list[str] | None = None,
) -> Judged:
    return Judged(
        at=now,
        training=ticket.training,
        by=ticket.by,
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
        run_id=ticket.run_id,
    )


def _ended(ticket: Ticket, version: VersionTrained, verdict: Judged) -> TrainingEnded:
    # A judgement by hand is a person's: it consumes evidence and starts the cooldown, as any other.
    ended = ticket.ended("JUDGED", version.as_of, reason=f"{verdict.verdict}: {' '.join(verdict.reasons)}")
    return ended.model_copy(update={"consumes": ticket.by != "bootstrap"})
