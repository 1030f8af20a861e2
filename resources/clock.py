"""The one place that asks the system for the time where a project's time is meant."""

from __future__ import annotations

from datetime import UTC, datetime

from mlops_assets.errors import Refused
from mlops_assets.ledger.facts import ClockMoved
from mlops_assets.ledger.store import Ledger
from mlops_assets.timeline import Timeline, iso


class Clock:
    """A project's clock: the wall's, or a replay clock whose position is a fact of the ledger.

    Args:
        timeline: the project's time.
        ledger: keeps a replay clock's position.
    """

    def __init__(self, timeline: Timeline, ledger: Ledger) -> None:
        self.timeline, self.ledger = timeline, ledger

    def now(self) -> datetime:
        """The project's time."""
        start = self.timeline.clock_start
        if start is None:
            return datetime.now(UTC)
        return self.ledger.view(self.timeline.project).clock or start

    def move(self, to: datetime) -> None:
        """Put a replay clock forward.

        Raises:
            Refused: for a wall clock, or backwards.
        """
        if self.timeline.clock_start is None:
            raise Refused(
                self.timeline.project,
                "clock",
                "this project lives by the wall's clock",
                "declare clock: {type: replay, ...}",
            )
        if to < self.now():
            raise Refused(
                self.timeline.project,
                "clock",
                f"it stands at {iso(self.now())} and cannot go back to {iso(to)}",
                "start with an empty state folder to play a history again",
            )
        self.ledger.append(self.timeline.project, ClockMoved(at=to))
