"""Which events are due, and what became of each: from rows, timeline and ledger alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from mlops_assets.ledger.facts import AnyFact, EventMissed, Scored
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.event_account import account_of, due_events, scored_spans
from mlops_assets.timeline import Timeline, event_id

HOUR = timedelta(hours=1)
AS_OF = datetime(2011, 3, 1, tzinfo=UTC)


def rows(*hours: float, **columns: Any) -> pd.DataFrame:
    """Return rows of the source at these hours after `AS_OF`."""
    times = pd.DatetimeIndex([AS_OF + hour * HOUR for hour in hours]).as_unit("ns")
    return pd.DataFrame({"event_time": times, **columns})


def ident(hour: float, entity: str | None = None) -> str:
    return event_id("small", entity, AS_OF + hour * HOUR)


def scored(after: float, through: float, answered: int, waiting: tuple[str, ...] = ()) -> Scored:
    end = AS_OF + through * HOUR
    return Scored(
        at=end,
        after=AS_OF + after * HOUR,
        through=end,
        answered=answered,
        late=0,
        missed=0,
        waiting=list(waiting),
    )


def view(*facts: AnyFact) -> LedgerView:
    return LedgerView("small", facts)


def test_events_are_due_one_horizon_before_their_rows(make_spec: Any) -> None:
    """This holds for a horizon longer than a window too: the first window then has no due event."""
    timeline = Timeline(make_spec(data={"horizon": "30h"}))
    found = due_events(timeline, rows(0, 29, 30, 31, 48, 78.5), AS_OF, AS_OF + 48 * HOUR)
    assert [(event.event_id, event.due) for event in found] == [
        (ident(30), AS_OF),
        (ident(31), AS_OF + HOUR),
        (ident(48), AS_OF + 18 * HOUR),
    ]


def test_no_event_is_due_before_the_first_promotion(make_spec: Any) -> None:
    assert due_events(Timeline(make_spec()), rows(0, 24, 48), None, AS_OF + 48 * HOUR) == []


def test_each_series_has_its_own_events(make_spec: Any) -> None:
    timeline = Timeline(make_spec(data={"horizon": "0h", "entity": "shop"}))
    found = due_events(timeline, rows(1, 1, 2, entity=["a", "b", "b"]), AS_OF, AS_OF + 2 * HOUR)
    assert {event.event_id for event in found} == {ident(1, "a"), ident(1, "b"), ident(2, "b")}
    account = account_of(view(scored(0, 2, 3)), found, answered={ident(1, "a"), ident(2, "b")}, missed=set())
    assert account.due == 3 and account.lost == {ident(1, "b")}


def test_rows_off_the_grid_are_events_and_gaps_are_none(make_spec: Any) -> None:
    timeline = Timeline(make_spec(data={"horizon": "0h"}))
    found = due_events(timeline, rows(0.25, 1.5, 7), AS_OF, AS_OF + 8 * HOUR)
    assert [event.event_id for event in found] == [ident(0.25), ident(1.5), ident(7)]


def test_every_due_event_is_in_one_set(make_spec: Any) -> None:
    timeline = Timeline(make_spec(data={"horizon": "0h"}))
    time = AS_OF + 2 * HOUR
    missed = EventMissed(at=time, event_id=ident(2), entity=None, event_time=time, due=time, reason="its row is bad")
    ledger = view(missed, scored(0, 4, 1, (ident(4),)))
    found = due_events(timeline, rows(1, 2, 3, 4, 5), AS_OF, AS_OF + 5 * HOUR)
    account = account_of(ledger, found, answered={ident(1)}, missed=set(ledger.missed))
    assert account.answered == {ident(1)} and account.missed == {ident(2)}
    assert account.lost == {ident(3)}
    assert account.waiting == {ident(4), ident(5)}, "asked for again, and not scored yet"
    assert account.due == 5


def test_recorded_event_counts_as_due_after_its_row_was_removed() -> None:
    account = account_of(view(scored(0, 2, 2)), [], answered={ident(1)}, missed={ident(2)})
    assert (account.due, account.lost) == (2, frozenset())


@pytest.mark.parametrize("hour", [0, 1, 3])
def test_ticks_are_joined_while_events_wait(hour: int) -> None:
    ledger = view(scored(0, 1, 1, (ident(1),)), scored(1, 2, 2), scored(2, 3, 1), scored(3, 4, 0, (ident(4),)))
    spans = scored_spans(ledger)
    assert [(span.answered, (span.through - AS_OF) // HOUR) for span in spans] == [(3, 2), (1, 3)]
    assert [span.holds(AS_OF + hour * HOUR) for span in spans] == [hour in (0, 1), hour == 3]
