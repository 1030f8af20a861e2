"""The project's time. Only this module reads the system's clock for it."""

from __future__ import annotations

from datetime import UTC, datetime

from mlops_assets.errors import Refused
from mlops_assets.ledger.facts import ClockMoved
from mlops_assets.ledger.store import Ledger
from mlops_assets.timeline import Timeline, iso


class Clock:
    """A project's clock: the system's clock, or a replay clock whose position is a fact of the ledger.

    Args:
        timeline: the project's windows; it says where a replay clock starts.
        ledger: stores the position of a replay clock.
    """

    def __init__(self, timeline: Timeline, ledger: Ledger) -> None:
        self.timeline, self.ledger = timeline, ledger

    def now(self) -> datetime:
        """Return the project's present time, in UTC."""
        start = self.timeline.clock_start
        if start is None:
            return datetime.now(UTC)
        return self.ledger.view(self.timeline.project).clock or start

    def move(self, to: datetime) -> None:
        """Move a replay clock forward to a moment.

        Raises:
            Refused: the project uses the system's clock, or the moment is in its past.
        """
        if self.timeline.clock_start is None:
            raise Refused(
                self.timeline.project,
                "clock",
                "this project uses the system's clock, which cannot be moved",
                "set clock: {type: replay, ...} in defs.yaml",
            )
        if to < self.now():
            raise Refused(
                self.timeline.project,
                "clock",
                f"it is at {iso(self.now())} and cannot go back to {iso(to)}",
                "start with an empty state folder to replay from the beginning",
            )
        self.ledger.append(self.timeline.project, ClockMoved(at=to))
