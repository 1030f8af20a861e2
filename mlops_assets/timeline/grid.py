"""The grid of a project's series: numbered points, one step apart. A step of whole days follows the calendar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mlops_assets.timeline.times import DAY, Times, as_datetime64
from mlops_assets.timeline.zones import Zone


@dataclass(frozen=True)
class Grid:
    """Points in time, one step apart, numbered from 0.

    Attributes:
        zone: the calendar's time zone.
        start: naive local time of point 0.
        every: the step. A step of whole days is one of the calendar, so a day can have 23, 24 or 25 hours. Any other
            step is elapsed time.
    """

    zone: Zone
    start: datetime
    every: timedelta

    @property
    def of_days(self) -> bool:
        """Whether a step is one or more whole days of the calendar."""
        return self.every % DAY == timedelta(0)

    def point(self, number: int) -> datetime:
        """Return the UTC time of a point."""
        return self.zone.utc(self.start + number * self.every) if self.of_days else self._origin + number * self.every

    def steps(self, times: Times) -> npt.NDArray[np.int64]:
        """Return the number of the last point at or before each UTC time."""
        if self.of_days:
            first, points = self._points_around(times)
            return np.searchsorted(points, times.astype("datetime64[ns]"), side="right") - 1 + first
        return np.floor_divide(self._since_start(times), self._step)

    def steps_up(self, times: Times) -> npt.NDArray[np.int64]:
        """Return the number of the first point at or after each UTC time."""
        if self.of_days:
            first, points = self._points_around(times)
            return np.searchsorted(points, times.astype("datetime64[ns]"), side="left") + first
        return -np.floor_divide(-self._since_start(times), self._step)

    def step(self, moment: datetime) -> int:
        """Return the number of the last point at or before a time."""
        return int(self.steps(np.array([as_datetime64(moment)]))[0])

    def earlier(self, times: Times, length: timedelta) -> Times:
        """Return UTC times moved back by a length: on the calendar when steps are whole days, else by elapsed time."""
        if self.of_days:
            return _each(times, lambda time: self.zone.utc(self.zone.local(time) - length))
        return np.asarray(times.astype("datetime64[ns]") - np.timedelta64(length))

    def end(self, stamp: datetime) -> datetime:
        """Return the end of the step that begins at a time."""
        if not self.of_days:
            return stamp + self.every
        number = self.step(stamp)
        # a day without midnight begins an hour late, and ends at the next midnight
        at_point = self.point(number) == stamp
        return self.point(number + 1) if at_point else self.zone.utc(self.zone.local(stamp) + self.every)

    def ends(self, stamps: Times) -> Times:
        """Return the end of the step that begins at each UTC time."""
        return _each(stamps, self.end) if self.of_days else np.asarray(stamps + np.timedelta64(self.every))

    def last_ended(self, moment: datetime) -> datetime:
        """Return the latest time whose step has ended by a moment."""
        if not self.of_days:
            return moment - self.every
        between = self.zone.utc(self.zone.local(moment) - self.every)
        between -= max(timedelta(0), self.end(between) - moment)
        return max(between, self.point(self.step(moment) - 1))

    @cached_property
    def _origin(self) -> datetime:
        return self.zone.utc(self.start)

    @cached_property
    def _step(self) -> np.int64:
        return np.int64(self.every / timedelta(microseconds=1) * 1000)

    def _since_start(self, times: Times) -> npt.NDArray[np.int64]:
        return (times.astype("datetime64[ns]") - as_datetime64(self._origin)).astype(np.int64)

    def _points_around(self, times: Times) -> tuple[int, Times]:
        """Return the number of a first point, and the UTC times of the points from there that enclose all times."""
        if not len(times):
            return 0, np.array([], dtype="datetime64[ns]")
        since = self._since_start(times)
        first, last = int(since.min() // self._step) - 1, int(since.max() // self._step) + 1
        return first, np.array([as_datetime64(self.point(number)) for number in range(first, last + 1)])


def _each(times: Times, change: Callable[[datetime], datetime]) -> Times:
    """Return each time changed by a function, which is called once per distinct time."""
    distinct, places = np.unique(times.astype("datetime64[us]"), return_inverse=True)
    changed = [as_datetime64(change(time.replace(tzinfo=UTC))) for time in distinct.tolist()]
    return np.array(changed, dtype="datetime64[ns]")[places]
