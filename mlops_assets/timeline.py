"""Windows, due times, what is known when, event ids: pure functions of a spec and a time.

Every time here is an aware UTC ``datetime`` (or a numpy ``datetime64[ns]`` array in UTC, in the vectorised
functions). Dagster's partition keys are local and exist in this module only; see ``docs/time.md``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from mlops_assets.errors import Refused
from mlops_assets.spec.duration import format_duration
from mlops_assets.spec.project import ProjectSpec, ReplayClock

Times = npt.NDArray[np.datetime64]
DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class Window:
    """A half-open stretch [start, end) of the project's calendar; `id` is its UTC start."""

    start: datetime
    end: datetime

    @property
    def id(self) -> str:
        """The window's name everywhere but in Dagster: its start, ISO 8601 in UTC."""
        return iso(self.start)


def iso(moment: datetime) -> str:
    """A time as it is written everywhere: ISO 8601 in UTC with a trailing Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse(text: str) -> datetime:
    """The inverse of `iso`; any ISO 8601 time with a zone is read."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no zone; write ISO 8601 with a zone, as 2011-04-02T04:00:00Z")
    return moment.astimezone(UTC)


def as_datetime64(moment: datetime) -> np.datetime64:
    """An aware time as numpy's naive UTC nanoseconds."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "ns")


def event_id(project: str, entity: str | None, event_time: datetime) -> str:
    """The name of an event: derived from project, entity and event time, the same at each asking."""
    return hashlib.sha256("\x1f".join([project, entity or "", iso(event_time)]).encode()).hexdigest()[:24]


class Timeline:
    """A project's time: built from its spec, knows no clock and does no I/O."""

    def __init__(self, spec: ProjectSpec) -> None:
        self.spec = spec
        self.project = spec.name
        self.zone = ZoneInfo(spec.data.time_zone)
        self.every = spec.data.every
        self.horizon = spec.data.horizon

    # Zone

    def utc(self, local: datetime) -> datetime:
        """A naive local time in UTC; a time that spring leaves out is shifted forward."""
        aware = local.replace(tzinfo=self.zone, fold=1 if self.spec.data.ambiguous == "second" else 0)
        return aware.astimezone(UTC)

    def local(self, moment: datetime) -> datetime:
        """A UTC time as naive local time."""
        return moment.astimezone(self.zone).replace(tzinfo=None)

    @cached_property
    def start(self) -> datetime:
        """Where history begins."""
        return self.utc(self.spec.data.start)

    @cached_property
    def end(self) -> datetime | None:
        """Where a closed history ends."""
        return None if self.spec.data.end is None else self.utc(self.spec.data.end)

    @cached_property
    def clock_start(self) -> datetime | None:
        """Where a replay clock stands before it is first moved."""
        clock = self.spec.clock
        return self.utc(clock.start) if isinstance(clock, ReplayClock) else None

    # Windows

    def _boundary(self, index: int) -> datetime:
        start = self.spec.data.start
        if self.spec.data.window == "hour":
            return self.start + index * timedelta(hours=1)
        if self.spec.data.window == "month":
            month = start.month - 1 + index
            return self.utc(start.replace(year=start.year + month // 12, month=month % 12 + 1))
        return self.utc(start + index * (DAY if self.spec.data.window == "day" else 7 * DAY))

    def _index(self, moment: datetime) -> int:
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

    def window_at(self, moment: datetime) -> Window:
        """The window that holds a time.

        Raises:
            Refused: when the time lies before the history's start or after its end.
        """
        index = self._index(moment)
        window = Window(self._boundary(index), self._boundary(index + 1))
        if index < 0 or (self.end is not None and window.end > self.end):
            raise Refused(
                self.project,
                f"time {iso(moment)}",
                f"the history runs from {iso(self.start)} to {iso(self.end) if self.end else 'now'}, in whole windows",
                "ask for a time within it",
            )
        return window

    def window(self, window_id: str) -> Window:
        """The window of an id.

        Raises:
            Refused: when no window starts at that time.
        """
        window = self.window_at(parse(window_id))
        if window.id != iso(parse(window_id)):
            raise Refused(
                self.project, f"window {window_id}", f"no window starts then; {window.id} holds it", "use its id"
            )
        return window

    def windows(self, start: datetime, end: datetime) -> list[Window]:
        """All whole windows of the history that lie in [start, end), oldest first."""
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
        """When a window's rows can be read."""
        return window.end + self.spec.data.arrival_delay

    def labels_at(self, window: Window) -> datetime:
        """When all labels of a window are known."""
        return self.readable_at(window) + self.spec.labels.delay

    def ended_windows(self, now: datetime) -> list[Window]:
        """Windows whose rows can be read by now, oldest first."""
        return self.windows(self.start, now - self.spec.data.arrival_delay)

    def labelled_windows(self, now: datetime) -> list[Window]:
        """Windows all of whose labels are known by now, oldest first."""
        return self.windows(self.start, now - self.spec.data.arrival_delay - self.spec.labels.delay)

    def require_readable(self, window: Window, now: datetime) -> None:
        """Refuse a window of the future, in words.

        Raises:
            Refused: when its rows are not there yet.
        """
        if self.readable_at(window) > now:
            raise Refused(
                self.project,
                f"window {window.id}",
                f"its rows can be read from {iso(self.readable_at(window))} on, the clock stands at {iso(now)}",
                "move the clock (mlops-assets replay, or the job *_clock_advance), or ask for an earlier window",
            )

    # Moments

    def next_moment(self, now: datetime) -> datetime | None:
        """The next time after now at which a window's rows or labels fall due; None at a closed history's end."""
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

    # Grid

    @property
    def _of_days(self) -> bool:
        """Whether a step is a day of the calendar, which a clock change makes 23 or 25 hours long."""
        return self.every == DAY

    def earlier(self, times: Times, length: timedelta) -> Times:
        """UTC times moved back by a length: on the zone's calendar where a step is a day, by elapsed time elsewhere."""
        if not self._of_days:
            return np.asarray(times.astype("datetime64[ns]") - np.timedelta64(length))
        return self._each(times, lambda time: self.utc(self.local(time) - length))

    @staticmethod
    def _each(times: Times, change: Callable[[datetime], datetime]) -> Times:
        """Change each of the times; equal ones once."""
        each, places = np.unique(times.astype("datetime64[us]"), return_inverse=True)
        changed = [as_datetime64(change(time.replace(tzinfo=UTC))) for time in each.tolist()]
        return np.array(changed, dtype="datetime64[ns]")[places]

    @property
    def _stamped(self) -> timedelta:
        """How long after its stamp a value is complete, where a step is no day of the calendar."""
        return timedelta(0) if self.spec.data.stamp == "end" else self.every

    def complete_at(self, stamp: datetime) -> datetime:
        """When the span that a value stamped so covers has ended."""
        if self.spec.data.stamp == "end":
            return stamp
        if not self._of_days:
            return stamp + self.every
        step = self._step_of(stamp)
        # a day without midnight begins an hour late, and ends with the next midnight
        return self.stamp_of(step + 1) if self.stamp_of(step) == stamp else self.utc(self.local(stamp) + DAY)

    def known_at(self, stamp: datetime) -> datetime:
        """When a history value stamped so is known."""
        return self.complete_at(stamp) + self.spec.data.arrival_delay

    def label_known_at(self, stamp: datetime) -> datetime:
        """When a target value stamped so is known."""
        return self.known_at(stamp) + self.spec.labels.delay

    def known_from(self, stamps: Times, column: str) -> Times:
        """When the values of a history column with these stamps are known."""
        complete = self._each(stamps, self.complete_at) if self._of_days else stamps + np.timedelta64(self._stamped)
        return np.asarray(complete + np.timedelta64(self.delay_of(column)))

    def known_before(self, moment: datetime) -> datetime:
        """The bound on stamps (inclusive) whose values are known by a moment."""
        arrived = moment - self.spec.data.arrival_delay
        if not self._of_days or self.spec.data.stamp == "end":
            return arrived - self._stamped
        between = self.utc(self.local(arrived) - DAY)
        between -= max(timedelta(0), self.complete_at(between) - arrived)
        return max(between, self.stamp_of(self._step_of(arrived) - 1))

    def labelled_before(self, moment: datetime) -> datetime:
        """The bound on stamps (inclusive) whose labels are known by a moment."""
        return self.known_before(moment - self.spec.labels.delay)

    def due(self, event_time: datetime) -> datetime:
        """When the answer for an event is due: the information cut-off."""
        return event_time - self.horizon

    def delay_of(self, column: str) -> timedelta:
        """How long after its span has ended a history value of a column is known."""
        target = self.spec.labels.delay if column == self.spec.problem.target else timedelta(0)
        return self.spec.data.arrival_delay + target

    def steps(self, times: Times) -> npt.NDArray[np.int64]:
        """Index on the grid anchored at `data.start` of each UTC time, rounded down."""
        if self._of_days:
            first, days = self._days_around(times)
            return np.searchsorted(days, times.astype("datetime64[ns]"), side="right") - 1 + first
        return np.floor_divide(self._since_start(times), self._step)

    def steps_up(self, times: Times) -> npt.NDArray[np.int64]:
        """Index on the grid of each UTC time, rounded up: a stamp between two grid points counts for the later one."""
        if self._of_days:
            first, days = self._days_around(times)
            return np.searchsorted(days, times.astype("datetime64[ns]"), side="left") + first
        return -np.floor_divide(-self._since_start(times), self._step)

    def stamp_of(self, step: int) -> datetime:
        """The UTC time of a grid index."""
        return self.utc(self.spec.data.start + step * DAY) if self._of_days else self.start + step * self.every

    def _step_of(self, moment: datetime) -> int:
        return int(self.steps(np.array([as_datetime64(moment)]))[0])

    @property
    def _step(self) -> np.int64:
        return np.int64(self.every / timedelta(microseconds=1) * 1000)

    def _since_start(self, times: Times) -> npt.NDArray[np.int64]:
        return (times.astype("datetime64[ns]") - as_datetime64(self.start)).astype(np.int64)

    def _days_around(self, times: Times) -> tuple[int, Times]:
        """The grid's days around all times, and the index of the first of them."""
        if not len(times):
            return 0, np.array([], dtype="datetime64[ns]")
        first = int(self._since_start(times).min() // self._step) - 1
        last = int(self._since_start(times).max() // self._step) + 1
        return first, np.array([as_datetime64(self.stamp_of(step)) for step in range(first, last + 1)])

    def newest_known(self, due: Times, column: str) -> npt.NDArray[np.int64]:
        """Grid index of the newest value of a history column that is known at each due time."""
        known: Times = due.astype("datetime64[ns]")
        arrived: Times = np.subtract(known, np.timedelta64(self.delay_of(column)), dtype=None)
        return self.steps(arrived) - (self.spec.data.stamp == "start")

    @property
    def history_steps(self) -> int:
        """Length of a history window, in grid steps; 0 without history."""
        history = self.spec.features.history
        return 0 if history is None else int(history.length / self.every)

    @property
    def lags(self) -> dict[str, dict[str, int]]:
        """Per history column, where in its window the values of the declared ages stand (`features.history.lags`)."""
        history = self.spec.features.history
        ages = history.lags if history is not None else []
        found: dict[str, dict[str, int]] = {}
        for column in self._history_columns if ages else []:
            newest = -(-(self.horizon + self.delay_of(column)) // self.every) + (self.spec.data.stamp == "start")
            found[column] = {
                format_duration(age): self.history_steps - 1 - (age // self.every - newest) for age in ages
            }
        return found

    def history_span(self, first_due: datetime, last_due: datetime) -> tuple[datetime, datetime]:
        """The stamps [start, end) from which histories due in [first_due, last_due] are cut."""
        slowest = max((self.delay_of(c) for c in self._history_columns), default=timedelta(0))
        start = first_due - slowest - (self.history_steps + 2) * self.every
        return max(self.start, start), last_due + timedelta(microseconds=1)

    @property
    def _history_columns(self) -> list[str]:
        history = self.spec.features.history
        return [] if history is None else list(history.columns)

    # Answering

    def last_tick(self, now: datetime) -> datetime:
        """The newest moment at which the scorer takes what became due: the grid of `serving.every` from data.start."""
        return now - (now - self.start) % self.spec.serving.every

    def answer_deadline(self, due: datetime) -> datetime:
        """Until when an answer is in time, and a bad or absent row is asked for again."""
        return due + self.spec.serving.every

    def require_entitled(self, version: int, as_of: datetime, due: datetime) -> None:
        """No model answers its own training data.

        Raises:
            Refused: when the event was due before the version's data were snapped.
        """
        if due < as_of:
            raise Refused(
                self.project,
                f"event due {iso(due)}",
                f"version {version} was trained as of {iso(as_of)} and may answer only events due then or later",
                "ask the version that served at that time",
            )

    # Dagster's keys

    @property
    def partition_format(self) -> str:
        """The format of Dagster's partition keys (local times; UTC for windows of an hour)."""
        return "%Y-%m-%d-%H:%M" if self.spec.data.window == "hour" else "%Y-%m-%d"

    @property
    def partition_zone(self) -> str:
        """The zone of Dagster's partition keys."""
        return "UTC" if self.spec.data.window == "hour" else self.spec.data.time_zone

    def partition_arguments(self) -> dict[str, Any]:
        """Keyword arguments of `dagster.TimeWindowPartitionsDefinition` for this project's windows."""
        start = self.spec.data.start
        clock = f"{start.minute} {start.hour}"
        schedule = {
            "hour": f"{self.start.minute} * * * *",
            "day": f"{clock} * * *",
            "week": f"{clock} * * {(start.weekday() + 1) % 7}",
            "month": f"{clock} {start.day} * *",
        }[self.spec.data.window]
        arguments: dict[str, Any] = {
            "start": self.key_of(self.start),
            "fmt": self.partition_format,
            "timezone": self.partition_zone,
            "cron_schedule": schedule,
        }
        if self.end is not None:
            arguments["end"] = self.key_of(self.end)
        return arguments

    def key_of(self, start: datetime) -> str:
        """Dagster's partition key of the window that starts at a time."""
        return start.astimezone(ZoneInfo(self.partition_zone)).strftime(self.partition_format)

    def window_of_key(self, key: str) -> Window:
        """The window of Dagster's partition key."""
        naive = datetime.strptime(key, self.partition_format)
        if self.partition_zone == "UTC" and self.spec.data.window == "hour":
            return self.window_at(naive.replace(tzinfo=UTC))
        if self.spec.data.window != "hour":
            naive = naive.replace(hour=self.spec.data.start.hour, minute=self.spec.data.start.minute)
        return self.window_at(self.utc(naive))


def contiguous(windows: list[Window]) -> Iterator[list[Window]]:
    """Cut a sorted list of windows into runs without holes: each can be one run over a range."""
    group: list[Window] = []
    for window in windows:
        if group and window.start != group[-1].end:
            yield group
            group = []
        group.append(window)
    if group:
        yield group


__all__ = ["Timeline", "Window", "contiguous", "event_id", "iso", "parse"]
