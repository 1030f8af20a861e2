"""The scorer: takes the events that became due, asks the endpoint as any client would, and says what came of each.

See `docs/time.md`. An event is a row of the source; its answer is due `horizon` before its time, and everything it is
answered with was known by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pandas as pd

from mlops_assets.errors import EndpointError
from mlops_assets.prediction.inputs import InputSchema, cut_inputs, to_records
from mlops_assets.retraining.history import History
from mlops_assets.retraining.records import EventMissed, Scored, VersionTrained
from mlops_assets.spec import ReplayClock
from mlops_assets.timeline import Timeline, event_id, iso

BATCH = 256
"""Rows of one request; a year's backlog does not go out as one body."""


class Rows(Protocol):
    """Reads a project's rows, as the acquisition room does."""

    def events(self, start: datetime, end: datetime) -> pd.DataFrame:
        """Event rows with only their known columns; bad cells as they are."""

    def history(self, start: datetime, end: datetime) -> pd.DataFrame:
        """History rows; bad cells null."""

    def faults(self, events: pd.DataFrame) -> dict[int, str]:
        """Reason per position of an event row that cannot be answered."""


class Service(Protocol):
    """The running endpoint, as the scorer sees it."""

    def invoke(self, records: list[dict[str, Any]], due: list[datetime], now: list[datetime]) -> list[dict[str, Any]]:
        """Answers to events, in order."""


class AnswerLog(Protocol):
    """What has been answered so far."""

    def answered_ids(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that have an answer that stands."""


@dataclass
class _Tally:
    answered: int = 0
    late: int = 0
    missed: list[EventMissed] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scorer:
    """One project's scorer.

    Args:
        timeline: the project's time.
        rows: its source.
        service: its endpoint.
        answers: the log of what was answered.
        champion: the version that serves, which may answer only what was due at or after its `as_of`.
    """

    timeline: Timeline
    rows: Rows
    service: Service
    answers: AnswerLog
    champion: VersionTrained

    def score(self, history: History, through: datetime, now: datetime) -> list[EventMissed | Scored]:
        """Answer what became due by `through`; the facts to be written, the account last.

        Raises:
            EndpointError: when the endpoint cannot answer, and no event is old enough to be given up.
        """
        first = history.first_as_of or self.champion.as_of
        after = history.scored_through
        events = self._open_events(history, first, after, through)
        tally = _Tally()
        askable = self._without_faults(events, tally, now)
        self._ask(askable, tally, now)
        account = Scored(
            at=now,
            after=after or first,
            through=through,
            answered=tally.answered,
            late=tally.late,
            missed=len(tally.missed),
            waiting=tally.waiting,
        )
        return [*tally.missed, account]

    def _open_events(
        self, history: History, first: datetime, after: datetime | None, through: datetime
    ) -> pd.DataFrame:
        """Events due by `through` that are neither answered nor missed, each with id and due time."""
        # A row that was bad or absent is asked for again until due + serving.every.
        since = first if after is None else max(first, after - self.timeline.spec.serving.every)
        step = timedelta(microseconds=1)
        events = self.rows.events(since + self.timeline.horizon, through + self.timeline.horizon + step)
        events = events.reset_index(drop=True)
        entities = events["entity"] if "entity" in events else [None] * len(events)
        times = [stamp.to_pydatetime() for stamp in events["event_time"]]
        events["event_id"] = [
            event_id(self.timeline.project, entity, time) for entity, time in zip(entities, times, strict=True)
        ]
        events["due"] = [self.timeline.due(time) for time in times]
        done = self.answers.answered_ids(list(events["event_id"])) | set(history.missed)
        return events[~events["event_id"].isin(done)].reset_index(drop=True)

    def _without_faults(self, events: pd.DataFrame, tally: _Tally, now: datetime) -> pd.DataFrame:
        faults = self.rows.faults(events)
        entitled = (events["due"] >= self.champion.as_of) if len(events) else []
        good = []
        for position, row in enumerate(events.to_dict("records")):
            if position in faults:
                if self.timeline.answer_deadline(row["due"]) > now:
                    tally.waiting.append(row["event_id"])
                else:
                    tally.missed.append(self._missed(row, now, faults[position]))
            elif not entitled.iloc[position]:
                reason = f"due before version {self.champion.version} was trained ({iso(self.champion.as_of)}), and no earlier one serves any more"
                tally.missed.append(self._missed(row, now, reason))
            else:
                good.append(position)
        return events.iloc[good].reset_index(drop=True)

    def _ask(self, events: pd.DataFrame, tally: _Tally, now: datetime) -> None:
        if events.empty:
            return
        records, dues = self._requests(events)
        moments = [self._asked_at(due, now) for due in dues]
        for start in range(0, len(records), BATCH):
            part = slice(start, start + BATCH)
            try:
                self.service.invoke(records[part], dues[part], moments[part])
            except EndpointError as error:
                self._give_up(events.iloc[part.start :], tally, now, error)
                return
            tally.answered += len(records[part])
            pairs = zip(dues[part], moments[part], strict=True)
            tally.late += sum(moment > self.timeline.answer_deadline(due) for due, moment in pairs)

    def _requests(self, events: pd.DataFrame) -> tuple[list[dict[str, Any]], list[datetime]]:
        schema = InputSchema.of(self.timeline.spec)
        dues = [due.to_pydatetime() for due in events["due"]]
        past = self.rows.history(*self.timeline.history_span(min(dues), max(dues)))
        return to_records(cut_inputs(self.timeline, schema, events, past), schema), dues

    def _asked_at(self, due: datetime, now: datetime) -> datetime:
        """The project's time at which an event is asked: in a replay its own tick, as a live scorer would have."""
        if not isinstance(self.timeline.spec.clock, ReplayClock):
            return now
        tick = self.timeline.last_tick(due)
        return min(now, tick if tick == due else tick + self.timeline.spec.serving.every)

    def _give_up(self, events: pd.DataFrame, tally: _Tally, now: datetime, error: EndpointError) -> None:
        """Miss what an endpoint could not answer for too long, so that nothing blocks the training that would mend it."""
        old = events[[due + self.timeline.spec.give_up <= now for due in events["due"]]]
        if old.empty:
            raise error
        for row in old.to_dict("records"):
            tally.missed.append(self._missed(row, now, f"the endpoint could not answer: {error}"))
        tally.waiting += [row["event_id"] for row in events.drop(old.index).to_dict("records")]

    def _missed(self, row: Mapping[str, Any], now: datetime, reason: str) -> EventMissed:
        return EventMissed(
            at=now,
            event_id=row["event_id"],
            entity=row.get("entity"),
            event_time=row["event_time"].to_pydatetime().astimezone(UTC),
            due=row["due"].to_pydatetime() if isinstance(row["due"], pd.Timestamp) else row["due"],
            reason=reason,
        )


def absent_when_due(
    timeline: Timeline, history: History, published: pd.DataFrame, answered: set[str], now: datetime
) -> list[EventMissed]:
    """Published rows that nobody was asked about: they were absent while they could be, so they are missed for good.

    Args:
        timeline: the project's time.
        history: its ledger.
        published: rows of a window, with `event_time` (and `entity`).
        answered: ids of events with an answer that stands.
        now: the project's time.
    """
    if history.first_as_of is None or history.scored_through is None:
        return []
    found = []
    entities = published["entity"] if "entity" in published else [None] * len(published)
    for stamp, entity in zip(published["event_time"], entities, strict=True):
        time = stamp.to_pydatetime()
        due, identity = timeline.due(time), event_id(timeline.project, entity, time)
        closed = identity in answered or identity in history.missed or identity in history.waiting
        if history.first_as_of <= due <= history.scored_through and not closed:
            reason = f"its row was absent from the source until {iso(timeline.answer_deadline(due))}"
            found.append(EventMissed(at=now, event_id=identity, entity=entity, event_time=time, due=due, reason=reason))
    return found
