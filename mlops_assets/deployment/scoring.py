"""Asking the running service: what became due, and whether it answers as its version was trained to."""

from __future__ import annotations

import json
from datetime import datetime
from typing import NamedTuple

from mlops_assets.context import ProjectContext
from mlops_assets.deployment.scorer import Scorer
from mlops_assets.errors import EndpointError, NotReady
from mlops_assets.ledger.facts import Scored
from mlops_assets.prediction.predictor import GOLDEN, inputs_of

TOLERANCE = 1e-9


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
    schema = inputs_of(context.versions.path(champion.version))
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


def ask_golden_rows(context: ProjectContext, version: int | None) -> tuple[bool, str]:
    """Whether the running service answers its version's golden rows as trained; and what was found, in words."""
    if version is None:
        return False, "no version serves yet"
    golden = json.loads((context.versions.path(version) / GOLDEN).read_text())
    answers = context.endpoint.ask(golden["records"])
    expected = golden["predictions"]
    for position, (answer, wanted) in enumerate(zip(answers, expected, strict=True)):
        found = answer["prediction"]
        same = found == wanted if isinstance(wanted, str) else abs(found - wanted) <= TOLERANCE * max(1.0, abs(wanted))
        if answer["model_version"] != version or not same:
            return (
                False,
                f"golden row {position}: version {answer['model_version']} answered {found}, expected {wanted}",
            )
    return True, f"version {version} answers its {len(answers)} golden rows as trained"
