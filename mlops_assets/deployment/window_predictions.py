"""A window's predictions, read back from telemetry, and the account of its events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from mlops_assets.context import ProjectContext
from mlops_assets.errors import NotReady
from mlops_assets.ledger.facts import EventMissed
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.event_account import DueEvent, EventAccount, account_of, due_events, scored_spans
from mlops_assets.timeline import Window, iso


@dataclass(frozen=True)
class WindowPredictions:
    """The predictions of a window, and the states of its events.

    Attributes:
        window: the window.
        predictions: one row per prediction of role champion.
        shadow: how many predictions the shadow made.
        late: how many predictions were made after due + `serving.every`.
        missed: reason by event id, of the events that are missed for good.
        account: the due events by state.
        data_version: md5 of the predictions as published in the lake.
    """

    window: Window
    predictions: pd.DataFrame
    shadow: int
    late: int
    missed: dict[str, str]
    account: EventAccount
    data_version: str


def window_predictions(context: ProjectContext, window: Window) -> WindowPredictions:
    """Read a window's predictions, close the account of its events, and publish the predictions in the lake.

    A published row that the scorer never saw, since it was absent from the source while it could be predicted, is
    recorded as missed. A window in which a champion served may have no due event: with a horizon longer than a window,
    all events of the first one were due before.

    Raises:
        Refused: for a window of the future, or when another writer published predictions of it meanwhile.
        NotReady: when no champion has served in it.
    """
    timeline, view, now = context.timeline, context.ledger_view(), context.now()
    timeline.require_readable(window, now)
    if view.deployment_period_at(window.end) is None:
        raise NotReady(
            context.spec.name,
            f"predictions of window {window.id}",
            "no champion served then",
            f"run the job {context.spec.name}_bootstrap, then move the clock past this window",
        )
    seen = context.lake.look(context.spec.name, "predictions", window.id)
    context.endpoint.drain()
    both = context.telemetry.predictions(context.spec.name, window.start, window.end, roles=("champion", "shadow"))
    champion = both[both["role"] == "champion"].reset_index(drop=True)
    answered = set(champion["event_id"])
    due = due_events(timeline, context.published_rows(window), view.first_as_of, window.end)
    lost = account_of(view, due, answered=answered, missed=set(view.missed)).lost
    context.ledger.append(context.spec.name, *_absent(context, view, [e for e in due if e.event_id in lost], now))
    view = context.ledger_view()
    missed = {
        fact.event_id: fact.reason for fact in view.missed.values() if window.start <= fact.event_time < window.end
    }
    return WindowPredictions(
        window=window,
        predictions=champion,
        shadow=int((both["role"] == "shadow").sum()),
        late=int(champion["late"].sum()) if len(champion) else 0,
        missed=missed,
        account=account_of(view, due, answered=answered, missed=set(missed)),
        data_version=context.lake.write_predictions(context.spec.name, window.id, both, seen),
    )


def _absent(
    context: ProjectContext, view: LedgerView, unaccounted: Sequence[DueEvent], now: datetime
) -> list[EventMissed]:
    """Return as missed those events whose rows were absent from the source while they could be predicted.

    Events are left out if the scorer counted more predictions in their span of ticks than the log holds: their rows
    were there, and their predictions were lost.

    Args:
        context: the project.
        view: its ledger.
        unaccounted: events that the scorer has passed, and that are neither answered nor missed nor waiting.
        now: the project's time.
    """
    over = [e for e in unaccounted if context.timeline.prediction_deadline(e.due) <= now]
    lost = _predictions_lost(context, view, over)
    return [
        EventMissed(
            at=now,
            event_id=event.event_id,
            entity=event.entity,
            event_time=event.event_time,
            due=event.due,
            reason=f"its row was absent from the source until {iso(context.timeline.prediction_deadline(event.due))}",
        )
        for event in over
        if event.event_id not in lost
    ]


def _predictions_lost(context: ProjectContext, view: LedgerView, events: Sequence[DueEvent]) -> Collection[str]:
    """Return the ids of the events that were scored in spans whose predictions are not all in the log."""
    lost: set[str] = set()
    for span in scored_spans(view) if events else []:
        held = {event.event_id for event in events if span.holds(event.due)}
        if held and _logged(context, span.after, span.through, first=span.first) < span.answered:
            lost |= held
    return lost


def _logged(context: ProjectContext, after: datetime, through: datetime, *, first: bool) -> int:
    """Return how many logged predictions were due in (after, through], for the first span in [after, through]."""
    step = timedelta(microseconds=1)
    horizon = context.timeline.horizon
    start, end = after + horizon + (timedelta(0) if first else step), through + horizon + step
    return len(context.telemetry.predictions(context.spec.name, start, end))
