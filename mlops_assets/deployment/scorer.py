"""The scorer: takes the events that became due, asks the endpoint as any client would, and says what came of each.

See `docs/time.md`. An event is a row of the source; its answer is due `horizon` before its time, and everything it is
answered with was known by then.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from mlops_assets.errors import EndpointError, InputError
from mlops_assets.ledger.facts import EventMissed, Scored, VersionTrained
from mlops_assets.ledger.view import LedgerView
from mlops_assets.prediction.inputs import InputSchema, as_known_to, cut_inputs, to_records
from mlops_assets.spec import ReplayClock
from mlops_assets.timeline import Timeline, event_id, iso

BATCH = 256
"""Rows of one request at most; a year's backlog does not go out as one body."""
BATCH_VALUES = 1_000_000
"""Numbers in one request at most: written out, about 20 MB. The service takes 32 MiB."""


class Rows(Protocol):
    """A project's source, as the scorer sees it."""

    def events(self, start: datetime, end: datetime, columns: Sequence[str]) -> pd.DataFrame:
        """Event rows with only these known columns; bad values as they came."""

    def faults(self, events: pd.DataFrame, columns: Sequence[str]) -> dict[int, str]:
        """Why, by position, an event row cannot be answered."""

    def history(self, start: datetime, end: datetime, columns: Sequence[str]) -> pd.DataFrame:
        """History rows; bad values null."""


class Service(Protocol):
    """The running endpoint, as the scorer sees it."""

    def invoke(self, records: list[dict[str, Any]], due: list[datetime], now: datetime) -> list[dict[str, Any]]:
        """Answers to events, in order; the first answer to an event stands."""

    def serving(self) -> int | None:
        """The version that serves."""


class LoggedPredictions(Protocol):
    """What has been answered so far."""

    def predicted_ids(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that have an answer that stands."""


class _Request(NamedTuple):
    row: Mapping[Hashable, Any]
    record: dict[str, Any]
    due: datetime


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
        schema: what that version is asked with, whatever the YAML says by now.
    """

    timeline: Timeline
    rows: Rows
    service: Service
    answers: LoggedPredictions
    champion: VersionTrained
    schema: InputSchema

    def score(
        self, view: LedgerView, through: datetime, now: datetime
    ) -> tuple[list[EventMissed | Scored], EndpointError | None]:
        """Answer what became due by `through`.

        Returns:
            the facts to be written; and why the endpoint could not answer, if it could not and there is still time:
            then nothing is accounted for but what is missed for good, and the rest is asked again.

        Raises:
            SourceError: when the source cannot be read.
        """
        first = view.first_as_of or self.champion.as_of
        after = view.scored_through
        # A row that was bad or absent is asked for again until due + serving.every.
        since = first if after is None else max(first, after - self.timeline.spec.serving.every)
        step = timedelta(microseconds=1)
        events = self.rows.events(
            since + self.timeline.horizon, through + self.timeline.horizon + step, self._known_columns
        )
        tally = _Tally()
        sound = self._without_faults(self._open(events, view), tally, now)
        failed = self._ask(self._entitled(sound, tally, now), tally, now)
        if failed is not None:
            return [*tally.missed], failed
        account = Scored(
            at=now,
            after=after or first,
            through=through,
            answered=tally.answered,
            late=tally.late,
            missed=len(tally.missed),
            waiting=tally.waiting,
        )
        return [*tally.missed, account], None

    def _open(self, events: pd.DataFrame, view: LedgerView) -> pd.DataFrame:
        """Those neither answered nor missed, each with id and due time."""
        events = events.reset_index(drop=True)
        entities = events["entity"] if "entity" in events else [None] * len(events)
        times = [stamp.to_pydatetime() for stamp in events["event_time"]]
        ids = [event_id(self.timeline.project, entity, time) for entity, time in zip(entities, times, strict=True)]
        events["event_id"] = ids
        events["due"] = pd.Series([self.timeline.due(time) for time in times], dtype=object)
        done = self.answers.predicted_ids(ids) | set(view.missed)
        return events[~events["event_id"].isin(done)].reset_index(drop=True)

    @cached_property
    def _out_of_reach(self) -> list[str]:
        return self.schema.out_of_reach(self.timeline.spec)

    @property
    def _known_columns(self) -> list[str]:
        return [name for name in self.schema.known if name not in self._out_of_reach]

    def _faults(self, events: pd.DataFrame) -> dict[int, str]:
        """Why rows cannot be answered: what they hold, or that the version asks for what nobody declares any more."""
        if not self._out_of_reach:
            return self.rows.faults(events, self._known_columns)
        names = ", ".join(self._out_of_reach)
        reason = f"version {self.champion.version} is asked with {names}, which the YAML no longer declares so"
        return dict.fromkeys(range(len(events)), reason)

    def _without_faults(self, events: pd.DataFrame, tally: _Tally, now: datetime) -> pd.DataFrame:
        """A bad event row is not answered: asked for again while there is time, then missed with its reason."""
        faults = self._faults(events)
        rows = events.to_dict("records")
        for position, reason in faults.items():
            self._put_off(rows[position], tally, now, reason)
        return events.drop(index=list(faults)).reset_index(drop=True)

    def _put_off(self, row: Mapping[Hashable, Any], tally: _Tally, now: datetime, reason: str) -> None:
        if self.timeline.prediction_deadline(row["due"]) > now:
            tally.waiting.append(row["event_id"])
        else:
            tally.missed.append(self._missed(row, now, f"its row is bad: {reason}"))

    def _entitled(self, events: pd.DataFrame, tally: _Tally, now: datetime) -> pd.DataFrame:
        """Those that the serving version may answer; no other serves any more, so the rest is missed."""
        allowed = np.array([due >= self.champion.as_of for due in events["due"]], dtype=bool)
        for row in events[~allowed].to_dict("records"):
            trained = f"version {self.champion.version} was trained ({iso(self.champion.as_of)})"
            tally.missed.append(self._missed(row, now, f"due before {trained}, and no earlier version serves any more"))
        return events[allowed].reset_index(drop=True)

    def _ask(self, events: pd.DataFrame, tally: _Tally, now: datetime) -> EndpointError | None:
        """One request per moment at which a live scorer would have asked; why it failed, if something is left."""
        if events.empty:
            return None
        questions = self._requests_of(events)
        moments = [self._asked_at(question.due, now) for question in questions]
        for moment in sorted(set(moments)):
            together = [question for question, asked in zip(questions, moments, strict=True) if asked == moment]
            for start in range(0, len(together), self._rows_of_a_request):
                try:
                    self._ask_at(moment, together[start : start + self._rows_of_a_request], tally, now)
                except EndpointError as error:
                    return error if self._give_up(events, tally, now, error) else None
        return None

    def _ask_at(self, moment: datetime, questions: list[_Request], tally: _Tally, now: datetime) -> None:
        """Ask at once; where a row is refused, in halves, so that it keeps no other from its answer."""
        try:
            self.service.invoke([each.record for each in questions], [each.due for each in questions], moment)
        except InputError as error:
            if len(questions) > 1:
                half = len(questions) // 2
                self._ask_at(moment, questions[:half], tally, now)
                self._ask_at(moment, questions[half:], tally, now)
            else:
                self._require_champion()
                self._put_off(questions[0].row, tally, now, f"{error.place}: {error.found}")
            return
        tally.answered += len(questions)
        tally.late += sum(moment > self.timeline.prediction_deadline(each.due) for each in questions)

    def _require_champion(self) -> None:
        """A row is bad only if the version that it was cut for refuses it."""
        serving = self.service.serving()
        if serving != self.champion.version:
            raise EndpointError(
                self.timeline.project,
                "score",
                f"version {serving} serves, where the ledger says {self.champion.version}",
                "materialize endpoint; the sensor endpoint_health does it by itself",
            )

    @property
    def _rows_of_a_request(self) -> int:
        values = 1 + len(self.schema.known) + len(self.schema.history) * self.schema.steps
        return max(1, min(BATCH, BATCH_VALUES // values))

    def _requests_of(self, events: pd.DataFrame) -> list[_Request]:
        schema, dues = self.schema, list(events["due"])
        span = self.timeline.past_values_span(min(dues), max(dues), schema.history, schema.steps)
        past = as_known_to(schema, self.rows.history(*span, schema.history))
        records = to_records(cut_inputs(self.timeline, schema, events, past), schema)
        return [
            _Request(row, record, due)
            for row, record, due in zip(events.to_dict("records"), records, dues, strict=True)
        ]

    def _asked_at(self, due: datetime, now: datetime) -> datetime:
        """The project's time at which an event is asked: in a replay its own tick, as a live scorer would have."""
        if not isinstance(self.timeline.spec.clock, ReplayClock):
            return now
        return min(now, self.timeline.next_tick(due))

    def _give_up(self, events: pd.DataFrame, tally: _Tally, now: datetime, error: EndpointError) -> int:
        """Miss what an endpoint could not answer for too long, so that nothing blocks the training that would mend it.

        It has been too long when the oldest question has waited for `serving.give_up`; then all that are due are
        missed: a training begins only when none is open, and new ones come due all the time.

        Returns:
            How many events are left to be asked again.
        """
        answered = self.answers.predicted_ids(list(events["event_id"]))
        left = events[~events["event_id"].isin(answered)]
        if not any(due + self.timeline.spec.give_up <= now for due in left["due"]):
            return len(left)
        for row in left.to_dict("records"):
            tally.missed.append(self._missed(row, now, f"the endpoint could not answer: {error}"))
        return 0

    def _missed(self, row: Mapping[Hashable, Any], now: datetime, reason: str) -> EventMissed:
        return EventMissed(
            at=now,
            event_id=row["event_id"],
            entity=row.get("entity"),
            event_time=row["event_time"].to_pydatetime().astimezone(UTC),
            due=row["due"],
            reason=reason,
        )
