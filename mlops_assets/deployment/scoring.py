"""Asking the running service: what became due, and whether it answers as its version was trained to."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from mlops_assets.context import ProjectContext
from mlops_assets.deployment.scorer import Scorer
from mlops_assets.errors import EndpointError, NotReady
from mlops_assets.ledger.facts import Scored
from mlops_assets.prediction.bundle import read_input_schema, read_reference_predictions


def score_due(context: ProjectContext, through: datetime | None = None) -> str:
    """Answer the events that became due; a sentence that accounts for them.

    Args:
        project context: the project's resources.
        through: answer what is due by then; by default the clock's newest tick.

    Raises:
        NotReady: without a champion.
        EndpointError: when the service cannot answer and there is still time to ask again.
    """
    view, now = context.ledger_view(), context.now()
    if view.deployment_period is None:
        raise NotReady(
            context.spec.name, "score", "no champion serves", f"run the job {context.spec.name}_bootstrap first"
        )
    champion = view.versions[view.deployment_period.version]
    schema = read_input_schema(context.versions.path(champion.version))
    scorer = Scorer(context.timeline, context.source, context.endpoint, context.prediction_log, champion, schema)
    facts, failed = scorer.score(view, through or context.timeline.last_tick(now), now)
    context.ledger.append(context.spec.name, *facts)
    if failed is not None:
        raise failed
    account = facts[-1]
    if not isinstance(account, Scored):
        raise TypeError("a scoring ends with its account")
    return (
        f"version {champion.version} answered {account.answered} events due by {account.through.isoformat()} "
        f"({account.late} late, {account.missed} missed, {len(account.waiting)} asked for again)"
    )


class RemainingEvents(NamedTuple):
    """What came of the champion's last answers: in words, and whether it gave them."""

    text: str
    answered: bool


def score_remaining_events(context: ProjectContext, as_of: datetime) -> RemainingEvents | None:
    """Let the champion answer what was due since its last tick and before its successor's data were snapped.

    Its successor may not: those events would be missed at each promotion that does not fall on a tick.

    Returns:
        What came of it; None if nothing was left. That the champion cannot answer keeps nobody from taking its place.
    """
    view = context.ledger_view()
    if view.deployment_period is None or view.scored_through is None or view.scored_through >= as_of:
        return None
    try:
        return RemainingEvents(score_due(context, as_of), answered=True)
    except EndpointError as error:
        text = f"what was due before the next version's data were snapped stays without an answer: {error}"
        return RemainingEvents(text, answered=False)


def check_served_predictions(context: ProjectContext, version: int | None) -> tuple[bool, str]:
    """Return whether the running service reproduces its version's reference predictions, and a sentence on the result.

    Predictions and, for classification, probabilities are compared.
    """
    if version is None:
        return False, "no version serves yet"
    reference = read_reference_predictions(context.versions.path(version))
    served = context.endpoint.ask(reference.records)
    for row, prediction in enumerate(served):
        if prediction["model_version"] != version:
            return False, f"reference row {row} was predicted by version {prediction['model_version']}, not {version}"
        classes = reference.probabilities[row] if reference.probabilities else {}
        shares = {name: prediction.get(f"probability_{name}", float("nan")) for name in classes}
        if (difference := reference.difference(row, prediction["prediction"], shares or None)) is not None:
            return False, f"reference row {row}: version {version} {difference}"
    return True, f"version {version} reproduces its {len(served)} reference predictions"
