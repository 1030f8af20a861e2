"""Facts about events: predicted, waiting, missed."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from mlops_assets.ledger.facts.base import Fact


class Scored(Fact):
    """The scorer processed the events that were due in (after, through]."""

    kind: Literal["scored"] = "scored"
    after: AwareDatetime
    through: AwareDatetime
    answered: int
    """Number of events with a prediction, on time or late."""
    late: int
    missed: int
    waiting: list[str] = []
    """Ids of events without a prediction that the next scoring tries again."""

    @property
    def key(self) -> str:
        return f"{self.through.isoformat()}:{self.at.isoformat()}:{len(self.waiting)}"


class EventMissed(Fact):
    """An event has no prediction and will not get one."""

    kind: Literal["missed"] = "missed"
    event_id: str
    entity: str | None
    event_time: AwareDatetime
    due: AwareDatetime
    reason: str

    @property
    def key(self) -> str:
        return self.event_id
