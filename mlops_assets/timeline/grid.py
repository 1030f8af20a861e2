"""The grid of a series: zone and steps. A step of days is one of the calendar, any other is elapsed time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.datetime64]
DAY = timedelta(days=1)


def as_datetime64(moment: datetime) -> np.datetime64:
    """An aware time as numpy's naive UTC nanoseconds."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "ns")


@dataclass(frozen=True)
class Zone:
    """A zone, and which of a doubled hour's times is meant."""

    name: str
    ambiguous: Literal["first", "second", "error"] = "first"

    @cached_property
    def info(self) -> ZoneInfo:
        """The zone's rules."""
        return ZoneInfo(self.name)

    def utc(self, local: datetime) -> datetime:
        """A naive local time in UTC; a time that spring leaves out is shifted forward."""
        found = local.replace(tzinfo=self.info, fold=1 if self.ambiguous == "second" else 0).astimezone(UTC)
        if found.astimezone(self.info).replace(tzinfo=None) < local:
            # left out by spring: the later reading of such a time lies before the gap
            return local.replace(tzinfo=self.info, fold=0).astimezone(UTC)
        return found

    def local(self, moment: datetime) -> datetime:
        """A UTC time as naive local time."""
        return moment.astimezone(self.info).replace(tzinfo=None)


@dataclass(frozen=True)
class Grid:
    """Points in time, a step apart, numbered from 0.

    Attributes:
        zone: of the calendar.
        start: naive local time of point 0.
        every: the step; a day is 23, 24 or 25 hours long, as the calendar has it, and so is one of a week.
    """

    zone: Zone
    start: datetime
    every: timedelta

    @property
    def of_days(self) -> bool:
        """Whether a step is one or more days of the calendar."""
        return self.every % DAY == timedelta(0)

    def point(self, number: int) -> datetime:
        """The UTC time of a point."""
        return self.zone.utc(self.start + number * self.every) if self.of_days else self._origin + number * self.every

    def steps(self, times: Times) -> npt.NDArray[np.int64]:
        """The last point at or before each UTC time."""
        if self.of_days:
            first, points = self._points_around(times)
            return np.searchsorted(points, times.astype("datetime64[ns]"), side="right") - 1 + first
        return np.floor_divide(self._since_start(times), self._step)

    def steps_up(self, times: Times) -> npt.NDArray[np.int64]:
        """The first point at or after each UTC time: a stamp between two points counts for the later one."""
        if self.of_days:
            first, points = self._points_around(times)
            return np.searchsorted(points, times.astype("datetime64[ns]"), side="left") + first
        return -np.floor_divide(-self._since_start(times), self._step)

    def step(self, moment: datetime) -> int:
        """The last point at or before a moment."""
        return int(self.steps(np.array([as_datetime64(moment)]))[0])

    def earlier(self, times: Times, length: timedelta) -> Times:
        """UTC times moved back by a length: on the calendar where a step is of days, by elapsed time elsewhere."""
        if self.of_days:
            return _each(times, lambda time: self.zone.utc(self.zone.local(time) - length))
        return np.asarray(times.astype("datetime64[ns]") - np.timedelta64(length))

    def end(self, stamp: datetime) -> datetime:
        """Where the step that begins at a stamp ends."""
        if not self.of_days:
            return stamp + self.every
        number = self.step(stamp)
        # a day without midnight begins an hour late, and ends with the next midnight
        at_point = self.point(number) == stamp
        return self.point(number + 1) if at_point else self.zone.utc(self.zone.local(stamp) + self.every)

    def ends(self, stamps: Times) -> Times:
        """`end` of each."""
        return _each(stamps, self.end) if self.of_days else np.asarray(stamps + np.timedelta64(self.every))

    def last_ended(self, moment: datetime) -> datetime:
        """The newest stamp whose step has ended by a moment."""
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
        """The points around all times, and the number of the first of them."""
        if not len(times):
            return 0, np.array([], dtype="datetime64[ns]")
        since = self._since_start(times)
        first, last = int(since.min() // self._step) - 1, int(since.max() // self._step) + 1
        return first, np.array([as_datetime64(self.point(number)) for number in range(first, last + 1)])


def _each(times: Times, change: Callable[[datetime], datetime]) -> Times:
    """Change each of the times; equal ones once."""
    each, places = np.unique(times.astype("datetime64[us]"), return_inverse=True)
    changed = [as_datetime64(change(time.replace(tzinfo=UTC))) for time in each.tolist()]
    return np.array(changed, dtype="datetime64[ns]")[places]
