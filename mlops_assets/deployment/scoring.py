"""Requests to the running service: the events that became due, and the champion's reference predictions."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from mlops_assets.context import ProjectContext
from mlops_assets.deployment.scorer import Scorer
from mlops_assets.errors import EndpointError, NotReady
from mlops_assets.ledger.facts import Scored
from mlops_assets.prediction.bundle import read_input_schema, read_reference_predictions


def score_due(context: ProjectContext, through: datetime | None = None) -> str:
    """Request the predictions of the events that became due, and record what happened to each.

    Args:
        context: the project.
        through: predictions due by this moment are requested; None: by the clock's newest tick.

    Returns:
        A sentence with the counts.

    Raises:
        NotReady: no version was promoted yet.
        EndpointError: the service does not respond, and there is still time to request the predictions again.
    """
    view, now = context.ledger_view(), context.now()
    if view.deployment_period is None:
        raise NotReady(
            context.spec.name, "score", "no version was promoted yet", f"run the job {context.spec.name}_bootstrap"
        )
    champion = view.versions[view.deployment_period.version]
    schema = read_input_schema(context.versions.path(champion.version))
    facts, failed = Scorer(context, champion, schema).score(view, through or context.timeline.last_tick(now), now)
    context.ledger.append(context.spec.name, *facts)
    if failed is not None:
        raise failed
    account = facts[-1]
    if not isinstance(account, Scored):
        raise TypeError(f"the last fact of a scoring is of kind scored, not {account.kind}")
    return (
        f"version {champion.version} predicted {account.answered} events due by {account.through.isoformat()} "
        f"({account.late} late); {account.missed} were missed, {len(account.waiting)} will be requested again"
    )


class RemainingEvents(NamedTuple):
    """The last predictions of a champion before its successor is promoted.

    Attributes:
        text: a sentence for people.
        predicted: whether the predictions were made.
    """

    text: str
    predicted: bool


def score_remaining_events(context: ProjectContext, as_of: datetime) -> RemainingEvents | None:
    """Let the champion predict the events that were due after its last tick and before its successor's data were taken.

    The successor may not predict them, so they would be missed at each promotion that does not fall on a tick. An
    endpoint that does not respond does not prevent the promotion.

    Args:
        context: the project.
        as_of: the moment at which the successor's training data were taken.

    Returns:
        What happened; None when no event was left.
    """
    view = context.ledger_view()
    if view.deployment_period is None or view.scored_through is None or view.scored_through >= as_of:
        return None
    try:
        return RemainingEvents(score_due(context, as_of), predicted=True)
    except EndpointError as error:
        text = f"events due before the next version's data were taken have no prediction: {error}"
        return RemainingEvents(text, predicted=False)


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
        probabilities = {name: prediction.get(f"probability_{name}", float("nan")) for name in classes}
        if (difference := reference.difference(row, prediction["prediction"], probabilities or None)) is not None:
            return False, f"reference row {row}: version {version} {difference}"
    return True, f"version {version} reproduces its {len(served)} reference predictions"
