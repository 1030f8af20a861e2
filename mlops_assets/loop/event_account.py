"""The account of events: which are due, and the state of each.

Due events are computed from the rows of the source and the timeline, never from the records of predictions. So an event
whose prediction was made and is no longer in the log shows as lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from mlops_assets.ledger.facts import Scored
from mlops_assets.ledger.view import LedgerView
from mlops_assets.timeline import Timeline, event_ids


@dataclass(frozen=True)
class DueEvent:
    """An event whose prediction is due.

    Attributes:
        event_id: its id.
        entity: its series; None in a project with one series.
        event_time: its time, UTC.
        due: when its prediction is due, UTC.
    """

    event_id: str
    entity: str | None
    event_time: datetime
    due: datetime


@dataclass(frozen=True)
class EventAccount:
    """The states of the due events of a time range. Each event is in exactly one of the four sets.

    Attributes:
        answered: ids of events with a champion's prediction, late ones included.
        missed: ids of events that are missed for good, without those that have a prediction.
        waiting: ids of events that the scorer has not processed yet, or tries again.
        lost: ids of events that the scorer has processed, and that are neither answered nor missed nor waiting.
    """

    answered: frozenset[str]
    missed: frozenset[str]
    waiting: frozenset[str]
    lost: frozenset[str]

    @property
    def due(self) -> int:
        """Number of due events."""
        return len(self.answered) + len(self.missed) + len(self.waiting) + len(self.lost)


def due_events(timeline: Timeline, rows: pd.DataFrame, since: datetime | None, through: datetime) -> list[DueEvent]:
    """Return the events of source rows whose predictions are due in [since, through].

    Args:
        timeline: the project's time.
        rows: rows of the source with `event_time` (datetime64[ns, UTC]), and `entity` when the project has several
            series. They need not lie on a regular grid.
        since: `as_of` of the first champion; None before the first promotion, when no event counts.
        through: the last due time.
    """
    if since is None:
        return []
    dues = rows["event_time"] - timeline.horizon
    rows = rows[(dues >= pd.Timestamp(since)) & (dues <= pd.Timestamp(through))]
    entities = rows["entity"] if "entity" in rows else [None] * len(rows)
    times = [stamp.to_pydatetime().astimezone(UTC) for stamp in rows["event_time"]]
    ids = event_ids(timeline.project, rows)
    return [
        DueEvent(identity, entity, time, timeline.due(time))
        for identity, entity, time in zip(ids, entities, times, strict=True)
    ]


def account_of(
    view: LedgerView, due: Iterable[DueEvent], *, answered: Collection[str], missed: Collection[str]
) -> EventAccount:
    """Return the states of the due events of a time range.

    A recorded event was due, also when a later correction of the source has removed its row.

    Args:
        view: the project's ledger.
        due: the due events, from `due_events`.
        answered: ids of all events in the range that have a champion's prediction.
        missed: ids of all events in the range that are missed.
    """
    done = set(answered) | set(missed)
    left = [event for event in due if event.event_id not in done]
    through, retried = view.scored_through, set(view.waiting)
    waiting = {e.event_id for e in left if through is None or e.due > through or e.event_id in retried}
    return EventAccount(
        answered=frozenset(answered),
        missed=frozenset(missed) - frozenset(answered),
        waiting=frozenset(waiting),
        lost=frozenset(event.event_id for event in left) - waiting,
    )


@dataclass(frozen=True)
class ScoredSpan:
    """Consecutive ticks of the scorer after which no event was waiting.

    Attributes:
        after: events due after this time were scored in it; the first span also contains the time itself.
        through: events due at or before this time were scored in it.
        answered: number of events with a prediction, as counted by the scorer.
        first: whether it is the first span.
    """

    after: datetime
    through: datetime
    answered: int
    first: bool

    def holds(self, due: datetime) -> bool:
        """Return whether an event with a due time was scored in this span."""
        return self.after < due <= self.through or (self.first and due == self.after)


def scored_spans(view: LedgerView) -> list[ScoredSpan]:
    """Return the spans, oldest first. Ticks after the last span, in which events still wait, are left out.

    Within a span, the scorer's count can be compared with the predictions in the log. The count may be too small, when
    the scorer was killed after its predictions were logged, but never too large.
    """
    spans: list[ScoredSpan] = []
    ticks: list[Scored] = []
    for tick in view.of(Scored):
        ticks.append(tick)
        if not tick.waiting:
            answered = sum(each.answered for each in ticks)
            spans.append(ScoredSpan(ticks[0].after, tick.through, answered, first=not spans))
            ticks = []
    return spans
