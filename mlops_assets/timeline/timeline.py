"""A project's time: windows, what is known when, due times and the scorer's ticks.

These are pure functions of a spec and a time. Every time is an aware UTC ``datetime``, or a numpy array of
``datetime64[ns]`` in UTC in the vectorised functions.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

from mlops_assets.errors import Refused
from mlops_assets.spec.project import ReplayClock
from mlops_assets.timeline.availability import Availability
from mlops_assets.timeline.times import iso
from mlops_assets.timeline.windows import WindowCalendar


class Timeline(WindowCalendar, Availability):
    """A project's time, built from its spec. It reads no clock.

    Args:
        spec: the project's `defs.yaml`.
    """

    @cached_property
    def clock_start(self) -> datetime | None:
        """The time of a replay clock before it is first moved; None for a wall clock."""
        clock = self.spec.clock
        return self.utc(clock.start) if isinstance(clock, ReplayClock) else None

    def due(self, event_time: datetime) -> datetime:
        """Return when the prediction for an event is due. Only values that are known by then may be used for it."""
        return event_time - self.horizon

    def last_tick(self, now: datetime) -> datetime:
        """Return the scorer's last tick at or before now.

        The scorer ticks every `serving.every` from the start of the data, and at the end of each window: a window is
        reported when it has ended, and an event that was predicted after that would be in no report.
        """
        return max(self._grid_tick(now), self._boundary(self._index(now)))

    def next_tick(self, due: datetime) -> datetime:
        """Return the tick at which the scorer requests a prediction: the first one at or after its due time."""
        if self.last_tick(due) == due:
            return due
        return min(self._grid_tick(due) + self.spec.serving.every, self._boundary(self._index(due) + 1))

    def _grid_tick(self, now: datetime) -> datetime:
        return now - (now - self.start) % self.spec.serving.every

    def prediction_deadline(self, due: datetime) -> datetime:
        """Return until when a prediction is on time, and until when a bad or absent row is read again."""
        return due + self.spec.serving.every

    def require_unseen(self, version: int, as_of: datetime, due: datetime) -> None:
        """Raise an error unless an event is new to a version: a version must not predict its own training data.

        Args:
            version: the version's number.
            as_of: when the version's training data were read.
            due: the event's due time.

        Raises:
            Refused: the event was due before `as_of`.
        """
        if due < as_of:
            raise Refused(
                self.project,
                f"event due {iso(due)}",
                f"version {version} was trained as of {iso(as_of)} and may predict only events due then or later",
                "use the version that served at that time",
            )
