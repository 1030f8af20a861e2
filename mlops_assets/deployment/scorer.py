"""The scorer: it requests the predictions of the events that became due, and accounts for each of them.

See `docs/time.md`. An event is a row of the source; its prediction is due `horizon` before the event time, and every
input of it is known by then.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlops_assets.context import ProjectContext
from mlops_assets.errors import EndpointError, InputError
from mlops_assets.ledger.facts import EventMissed, Scored, VersionTrained
from mlops_assets.ledger.view import LedgerView
from mlops_assets.prediction.inputs import cut_inputs, to_records, without_unknown_classes
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.spec import ReplayClock
from mlops_assets.timeline import Timeline, event_ids, iso

BATCH = 256
"""Largest number of rows in one request."""
BATCH_VALUES = 1_000_000
"""Largest number of values in one request: about 20 MB of JSON. The service accepts 32 MiB."""


class _Request(NamedTuple):
    """One event to predict: its row of the source, its row of the request, and when its prediction is due."""

    row: Mapping[Hashable, Any]
    record: dict[str, Any]
    due: datetime


@dataclass
class _Tally:
    """What happened to the events so far."""

    answered: int = 0
    late: int = 0
    missed: list[EventMissed] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scorer:
    """Requests the predictions of one project's due events.

    Args:
        context: the project. Its source, endpoint and prediction log are used.
        champion: the version that serves. It may predict only events that were due at or after its `as_of`.
        schema: the inputs of that version, which may differ from those of the present `defs.yaml`.
    """

    context: ProjectContext
    champion: VersionTrained
    schema: InputSchema

    @property
    def timeline(self) -> Timeline:
        """The project's time."""
        return self.context.timeline

    def score(
        self, view: LedgerView, through: datetime, now: datetime
    ) -> tuple[list[EventMissed | Scored], EndpointError | None]:
        """Request the predictions that became due by a moment.

        Args:
            view: what the ledger holds about the project.
            through: the moment; predictions due by then are requested.
            now: the project's time.

        Returns:
            The facts to record, and the error of the endpoint if it did not respond and there is still time. With an
            error only events that are missed for good are recorded, and the others are requested again later.

        Raises:
            SourceError: the source cannot be read.
        """
        first = view.first_as_of or self.champion.as_of
        after = view.scored_through
        # a row that was bad or absent is read again until due + serving.every
        since = first if after is None else max(first, after - self.timeline.spec.serving.every)
        step = timedelta(microseconds=1)
        events = self.context.source.events(
            since + self.timeline.horizon, through + self.timeline.horizon + step, self._known_columns
        )
        tally = _Tally()
        valid = self._without_faults(self._open_events(events, view), tally, now)
        failed = self._request_all(self._allowed(valid, tally, now), tally, now)
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

    def _open_events(self, events: pd.DataFrame, view: LedgerView) -> pd.DataFrame:
        """Return the events that are neither predicted nor missed, with the columns `event_id` and `due`."""
        events = events.reset_index(drop=True)
        ids = event_ids(self.timeline.project, events)
        events["event_id"] = ids
        dues = [self.timeline.due(stamp.to_pydatetime()) for stamp in events["event_time"]]
        events["due"] = pd.Series(dues, dtype=object)
        done = self.context.prediction_log.predicted_ids(ids) | set(view.missed)
        return events[~events["event_id"].isin(done)].reset_index(drop=True)

    @cached_property
    def _undeclared(self) -> list[str]:
        """Inputs of the version that `defs.yaml` no longer declares in the same way."""
        return self.schema.undeclared_inputs(self.timeline.spec)

    @property
    def _known_columns(self) -> list[str]:
        return [name for name in self.schema.known if name not in self._undeclared]

    def _faults(self, events: pd.DataFrame) -> dict[int, str]:
        """Return why rows cannot be predicted, by position: a bad value, or an input that is no longer declared."""
        if not self._undeclared:
            return self.context.source.faults(events, self._known_columns)
        names = ", ".join(self._undeclared)
        reason = f"version {self.champion.version} needs {names}, which defs.yaml no longer declares in that way"
        return dict.fromkeys(range(len(events)), reason)

    def _without_faults(self, events: pd.DataFrame, tally: _Tally, now: datetime) -> pd.DataFrame:
        """Return the rows without faults; a row with a fault waits while there is time, and is missed afterwards."""
        faults = self._faults(events)
        rows = events.to_dict("records")
        for position, reason in faults.items():
            self._wait_or_miss(rows[position], tally, now, reason)
        return events.drop(index=list(faults)).reset_index(drop=True)

    def _wait_or_miss(self, row: Mapping[Hashable, Any], tally: _Tally, now: datetime, reason: str) -> None:
        if self.timeline.prediction_deadline(row["due"]) > now:
            tally.waiting.append(row["event_id"])
        else:
            tally.missed.append(self._missed(row, now, f"its row is invalid: {reason}"))

    def _allowed(self, events: pd.DataFrame, tally: _Tally, now: datetime) -> pd.DataFrame:
        """Return the events that the champion may predict; the others are missed, since no other version serves."""
        allowed = np.array([due >= self.champion.as_of for due in events["due"]], dtype=bool)
        reason = (
            f"it was due before version {self.champion.version} was trained ({iso(self.champion.as_of)}), "
            f"and no earlier version serves any more"
        )
        tally.missed += [self._missed(row, now, reason) for row in events[~allowed].to_dict("records")]
        return events[allowed].reset_index(drop=True)

    def _request_all(self, events: pd.DataFrame, tally: _Tally, now: datetime) -> EndpointError | None:
        """Send one request for each moment at which a live scorer would have sent one.

        Returns:
            The error of the endpoint, if events are left that are requested again later.
        """
        if events.empty:
            return None
        requests = self._requests_of(events)
        moments = [self._request_time(request.due, now) for request in requests]
        for moment in sorted(set(moments)):
            together = [request for request, at in zip(requests, moments, strict=True) if at == moment]
            for start in range(0, len(together), self._rows_per_request):
                try:
                    self._request_at(moment, together[start : start + self._rows_per_request], tally, now)
                except EndpointError as error:
                    return error if self._miss_after_give_up(events, tally, now, error) else None
        return None

    def _request_at(self, moment: datetime, requests: list[_Request], tally: _Tally, now: datetime) -> None:
        """Request several predictions at once; when a row is invalid, halve the request until that row is alone."""
        try:
            self.context.endpoint.invoke(
                [request.record for request in requests], [request.due for request in requests], moment
            )
        except InputError as error:
            if len(requests) > 1:
                half = len(requests) // 2
                self._request_at(moment, requests[:half], tally, now)
                self._request_at(moment, requests[half:], tally, now)
            else:
                self._require_champion()
                self._wait_or_miss(requests[0].row, tally, now, f"{error.place}: {error.found}")
            return
        tally.answered += len(requests)
        tally.late += sum(moment > self.timeline.prediction_deadline(request.due) for request in requests)

    def _require_champion(self) -> None:
        """Require that it was the champion that refused a row. Another version may need other inputs.

        Raises:
            EndpointError: another version serves.
        """
        serving = self.context.endpoint.serving()
        if serving != self.champion.version:
            raise EndpointError(
                self.timeline.project,
                "score",
                f"version {serving} serves, but the champion in the ledger is version {self.champion.version}",
                "materialize endpoint, or wait for the sensor endpoint_health to do it",
            )

    @property
    def _rows_per_request(self) -> int:
        values = 1 + len(self.schema.known) + len(self.schema.history) * self.schema.steps
        return max(1, min(BATCH, BATCH_VALUES // values))

    def _requests_of(self, events: pd.DataFrame) -> list[_Request]:
        schema, dues = self.schema, list(events["due"])
        span = self.timeline.past_values_span(min(dues), max(dues), schema.history, schema.steps)
        past_values = without_unknown_classes(schema, self.context.source.history(*span, schema.history))
        records = to_records(cut_inputs(self.timeline, schema, events, past_values), schema)
        return [
            _Request(row, record, due)
            for row, record, due in zip(events.to_dict("records"), records, dues, strict=True)
        ]

    def _request_time(self, due: datetime, now: datetime) -> datetime:
        """Return the project's time of a request: in a replay the tick at which a live scorer would have sent it."""
        if not isinstance(self.timeline.spec.clock, ReplayClock):
            return now
        return min(now, self.timeline.next_tick(due))

    def _miss_after_give_up(self, events: pd.DataFrame, tally: _Tally, now: datetime, error: EndpointError) -> int:
        """Record events as missed when the endpoint has not responded for `serving.give_up`.

        Otherwise a broken endpoint would block the training that may repair it: a training starts only when no event
        is open. For the same reason all due events are missed, not only the oldest: new ones become due all the time.

        Returns:
            How many events are left to be requested again.
        """
        predicted = self.context.prediction_log.predicted_ids(list(events["event_id"]))
        left = events[~events["event_id"].isin(predicted)]
        if not any(due + self.timeline.spec.give_up <= now for due in left["due"]):
            return len(left)
        for row in left.to_dict("records"):
            tally.missed.append(self._missed(row, now, f"the endpoint did not respond: {error}"))
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
