"""A window's answers, read back from telemetry, and the account of its events."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from mlops_assets.context import ProjectContext
from mlops_assets.deployment.scorer import absent_when_due
from mlops_assets.errors import NotReady
from mlops_assets.timeline import Window, event_id


@dataclass(frozen=True)
class WindowPredictions:
    """What came of a window's events.

    Attributes:
        window: the window.
        answers: one row per answer of role champion.
        shadow: rows that the shadow predicted.
        due: events that were due by now.
        late: answers given after due + serving.every.
        missed: events missed for good, with their reasons.
        open: due events that are neither answered nor missed.
        data_version: md5 of the answers as published in the lake.
    """

    window: Window
    answers: pd.DataFrame
    shadow: int
    due: int
    late: int
    missed: dict[str, str]
    open: int
    data_version: str


def window_predictions(context: ProjectContext, window: Window) -> WindowPredictions:
    """Read a window's answers, close the account of its events, and publish the answers in the lake.

    Raises:
        Refused: for a window of the future, or when somebody published other answers of it meanwhile.
        NotReady: when no champion has served in it. A window in which one did may still hold no event of its own: with
            a horizon longer than a window all of the first one's were due before.
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
    rows = context.published_rows(window)
    absent = absent_when_due(timeline, view, rows, answered, now)
    context.ledger.append(context.spec.name, *absent)
    view = context.ledger_view()
    entities = rows["entity"] if "entity" in rows else [None] * len(rows)
    due = {
        event_id(context.spec.name, entity, stamp.to_pydatetime())
        for stamp, entity in zip(rows["event_time"], entities, strict=True)
        if timeline.due(stamp.to_pydatetime()) >= view.first_as_of  # type: ignore[operator]
    }
    missed = {
        fact.event_id: fact.reason for fact in view.missed.values() if window.start <= fact.event_time < window.end
    }
    return WindowPredictions(
        window=window,
        answers=champion,
        shadow=int((both["role"] == "shadow").sum()),
        due=len(due | answered | set(missed)),
        late=int(champion["late"].sum()) if len(champion) else 0,
        missed=missed,
        open=len(due - answered - set(missed)),
        data_version=context.lake.write_predictions(context.spec.name, window.id, both, seen),
    )
