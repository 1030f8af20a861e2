"""A window's answers, read back from telemetry, and the account of its events."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from mlops_assets.deployment.scoring import absent_when_due
from mlops_assets.errors import NotReady
from mlops_assets.timeline import Window, event_id
from resources.platform import Desk


@dataclass(frozen=True)
class WindowAnswers:
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


def window_answers(desk: Desk, window: Window) -> WindowAnswers:
    """Read a window's answers, close the account of its events, and publish the answers in the lake.

    Raises:
        Refused: for a window of the future, or when somebody published other answers of it meanwhile.
        NotReady: when no champion has served in it. A window in which one did may still hold no event of its own: with
            a horizon longer than a window all of the first one's were due before.
    """
    timeline, history, now = desk.timeline, desk.history(), desk.now()
    timeline.require_readable(window, now)
    if history.reign_at(window.end) is None:
        raise NotReady(
            desk.spec.name,
            f"predictions of window {window.id}",
            "no champion served then",
            f"run the job {desk.spec.name}_bootstrap, then move the clock past this window",
        )
    seen = desk.lake.look(desk.spec.name, "predictions", window.id)
    desk.endpoint.drain()
    both = desk.telemetry.answers(desk.spec.name, window.start, window.end, roles=("champion", "shadow"))
    champion = both[both["role"] == "champion"].reset_index(drop=True)
    answered = set(champion["event_id"])
    rows = desk.published_rows(window)
    absent = absent_when_due(timeline, history, rows, answered, now)
    desk.ledger.append(desk.spec.name, *absent)
    history = desk.history()
    entities = rows["entity"] if "entity" in rows else [None] * len(rows)
    due = {
        event_id(desk.spec.name, entity, stamp.to_pydatetime())
        for stamp, entity in zip(rows["event_time"], entities, strict=True)
        if timeline.due(stamp.to_pydatetime()) >= history.first_as_of  # type: ignore[operator]
    }
    missed = {
        fact.event_id: fact.reason for fact in history.missed.values() if window.start <= fact.event_time < window.end
    }
    return WindowAnswers(
        window=window,
        answers=champion,
        shadow=int((both["role"] == "shadow").sum()),
        due=len(due | answered | set(missed)),
        late=int(champion["late"].sum()) if len(champion) else 0,
        missed=missed,
        open=len(due - answered - set(missed)),
        data_version=desk.lake.write_answers(desk.spec.name, window.id, both, seen),
    )
