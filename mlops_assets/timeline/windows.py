"""Calendar windows: their bounds, their ids, and when their rows and labels are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlops_assets.errors import Refused
from mlops_assets.timeline.project_time import ProjectTime
from mlops_assets.timeline.times import DAY, iso, parse


@dataclass(frozen=True, order=True)
class Window:
    """A half-open interval [start, end) of the project's calendar, in UTC."""

    start: datetime
    end: datetime

    @property
    def id(self) -> str:
        """The window's id: its start, ISO 8601 in UTC. Only Dagster's partition keys differ from it."""
        return iso(self.start)


class WindowCalendar(ProjectTime):
    """The windows of a project: one per hour, day, week or month from the start of its data."""

    def window_at(self, moment: datetime) -> Window:
        """Return the window that contains a time.

        Raises:
            Refused: the time lies before the project's data or after their last whole window.
        """
        index = self._index(moment)
        window = Window(self._boundary(index), self._boundary(index + 1))
        if index < 0 or (self.end is not None and window.end > self.end):
            until = iso(self.end) if self.end else "now"
            raise Refused(
                self.project,
                f"time {iso(moment)}",
                f"no window contains it; the data cover {iso(self.start)} to {until}, in whole windows",
                "use a time in this range",
            )
        return window

    def window(self, window_id: str) -> Window:
        """Return the window with an id.

        Raises:
            Refused: no window starts at that time.
        """
        window = self.window_at(parse(window_id))
        if window.id != iso(parse(window_id)):
            raise Refused(
                self.project,
                f"window {window_id}",
                f"no window starts then; window {window.id} contains this time",
                f"use {window.id}",
            )
        return window

    def windows(self, start: datetime, end: datetime) -> list[Window]:
        """Return all windows that lie wholly in [start, end), oldest first."""
        found = []
        index = max(0, self._index(max(start, self.start)))
        if self._boundary(index) < start:
            index += 1
        while (window := Window(self._boundary(index), self._boundary(index + 1))).end <= end:
            if self.end is not None and window.end > self.end:
                break
            found.append(window)
            index += 1
        return found

    def readable_at(self, window: Window) -> datetime:
        """Return when all rows of a window have arrived."""
        return window.end + self.spec.data.arrival_delay

    def labels_at(self, window: Window) -> datetime:
        """Return when all labels of a window are known."""
        return self.readable_at(window) + self.spec.labels.delay

    def ended_windows(self, now: datetime) -> list[Window]:
        """Return the windows whose rows have arrived by now, oldest first."""
        return self.windows(self.start, now - self.spec.data.arrival_delay)

    def require_readable(self, window: Window, now: datetime) -> None:
        """Raise an error unless a window's rows have arrived.

        Raises:
            Refused: the rows have not arrived by `now`.
        """
        if self.readable_at(window) > now:
            raise Refused(
                self.project,
                f"window {window.id}",
                f"its rows can be read from {iso(self.readable_at(window))} on, and the clock is at {iso(now)}",
                "use an earlier window, or move the clock (mlops-assets replay, or the job *_clock_advance)",
            )

    def next_moment(self, now: datetime) -> datetime | None:
        """Return the next time after now at which a window's rows or labels are known; None after the last window."""
        delays = {self.spec.data.arrival_delay, self.spec.data.arrival_delay + self.spec.labels.delay}
        candidates = []
        for delay in delays:
            index = max(0, self._index(max(now - delay, self.start)))
            moment = self._boundary(index) + delay
            while moment <= now or index == 0:
                index += 1
                moment = self._boundary(index) + delay
            if self.end is None or self._boundary(index) <= self.end:
                candidates.append(moment)
        return min(candidates, default=None)

    def _boundary(self, index: int) -> datetime:
        """Return the start of a window by its number, counted from 0 at the start of the data."""
        start = self.spec.data.start
        if self.spec.data.window == "hour":
            return self.start + index * timedelta(hours=1)
        if self.spec.data.window == "month":
            month = start.month - 1 + index
            return self.utc(start.replace(year=start.year + month // 12, month=month % 12 + 1))
        return self.utc(start + index * (DAY if self.spec.data.window == "day" else 7 * DAY))

    def _index(self, moment: datetime) -> int:
        """Return the number of the window that contains a time; negative before the start of the data."""
        start, local = self.spec.data.start, self.local(moment)
        if self.spec.data.window == "hour":
            guess = (moment - self.start) // timedelta(hours=1)
        elif self.spec.data.window == "month":
            guess = (local.year - start.year) * 12 + local.month - start.month
        else:
            guess = (local - start) // (DAY if self.spec.data.window == "day" else 7 * DAY)
        while self._boundary(guess) > moment:
            guess -= 1
        while self._boundary(guess + 1) <= moment:
            guess += 1
        return int(guess)


def contiguous(windows: list[Window]) -> Iterator[list[Window]]:
    """Yield a sorted list of windows in groups without gaps, so that each group can be one run over a range."""
    group: list[Window] = []
    for window in windows:
        if group and window.start != group[-1].end:
            yield group
            group = []
        group.append(window)
    if group:
        yield group
