"""Windows, due times, what is known when, event ids: pure functions of a spec and a time.

Every time here is an aware UTC ``datetime`` (or a numpy ``datetime64[ns]`` array in UTC, in the vectorised
functions). Dagster's partition keys are local and exist in this module only; see ``docs/time.md``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
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
from mlops_assets.timeline.grid import DAY, Grid, Times, Zone


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


def event_id(project: str, entity: str | None, event_time: datetime) -> str:
    """The name of an event: derived from project, entity and event time, the same at each asking."""
    return hashlib.sha256("\x1f".join([project, entity or "", iso(event_time)]).encode()).hexdigest()[:24]


class Timeline:
    """A project's time: built from its spec, knows no clock and does no I/O."""

    def __init__(self, spec: ProjectSpec) -> None:
        self.spec = spec
        self.project = spec.name
        self.zone = Zone(spec.data.time_zone, spec.data.ambiguous)
        self.grid = Grid(self.zone, spec.data.start, spec.data.every)
        self.every = spec.data.every
        self.horizon = spec.data.horizon

    # Zone

    def utc(self, local: datetime) -> datetime:
        """A naive local time in UTC; a time that spring leaves out is shifted forward."""
        return self.zone.utc(local)

    def local(self, moment: datetime) -> datetime:
        """A UTC time as naive local time."""
        return self.zone.local(moment)

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

    # What is known when

    @property
    def _complete_at_once(self) -> bool:
        return self.spec.data.stamp == "end"

    def complete_at(self, stamp: datetime) -> datetime:
        """When the span that a value stamped so covers has ended."""
        return stamp if self._complete_at_once else self.grid.end(stamp)

    def known_at(self, stamp: datetime) -> datetime:
        """When a history value stamped so is known."""
        return self.complete_at(stamp) + self.spec.data.arrival_delay

    def label_known_at(self, stamp: datetime) -> datetime:
        """When a target value stamped so is known."""
        return self.known_at(stamp) + self.spec.labels.delay

    def known_from(self, stamps: Times, column: str) -> Times:
        """When the values of a history column with these stamps are known."""
        complete = stamps if self._complete_at_once else self.grid.ends(stamps)
        return np.asarray(complete + np.timedelta64(self.delay_of(column)))

    def known_before(self, moment: datetime) -> datetime:
        """The bound on stamps (inclusive) whose values are known by a moment."""
        arrived = moment - self.spec.data.arrival_delay
        return arrived if self._complete_at_once else self.grid.last_ended(arrived)

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

    def newest_known(self, due: Times, column: str) -> npt.NDArray[np.int64]:
        """Grid index of the newest value of a history column that is known at each due time."""
        known: Times = due.astype("datetime64[ns]")
        arrived: Times = np.subtract(known, np.timedelta64(self.delay_of(column)), dtype=None)
        return self.grid.steps(arrived) - (not self._complete_at_once)

    @property
    def history_steps(self) -> int:
        """Length of a history window, in grid steps; 0 without history."""
        view = self.spec.features.history
        return 0 if view is None else int(view.length / self.every)

    @property
    def lags(self) -> dict[str, dict[str, int]]:
        """Per history column, where in its window the values of the declared ages stand (`features.history.lags`)."""
        view = self.spec.features.history
        ages = view.lags if view is not None else []
        found: dict[str, dict[str, int]] = {}
        for column in self._history_columns if ages else []:
            newest = -(-(self.horizon + self.delay_of(column)) // self.every) + (not self._complete_at_once)
            found[column] = {
                format_duration(age): self.history_steps - 1 - (age // self.every - newest) for age in ages
            }
        return found

    def history_span(
        self, first_due: datetime, last_due: datetime, columns: Sequence[str], steps: int
    ) -> tuple[datetime, datetime]:
        """The stamps [start, end) from which histories of some steps, due in [first_due, last_due], are cut."""
        slowest = max((self.delay_of(column) for column in columns), default=timedelta(0))
        start = first_due - slowest - (steps + 2) * self.every
        return max(self.start, start), last_due + timedelta(microseconds=1)

    @property
    def _history_columns(self) -> list[str]:
        view = self.spec.features.history
        return [] if view is None else list(view.columns)

    # Answering

    def last_tick(self, now: datetime) -> datetime:
        """The newest moment at which the scorer takes what became due.

        These are the grid of `serving.every` from data.start, and the end of each window: a window is reported when it
        has ended, and an event that is answered after that would be in no report.
        """
        return max(self._grid_tick(now), self._boundary(self._index(now)))

    def next_tick(self, due: datetime) -> datetime:
        """The moment at which the scorer takes an answer that falls due; `due` itself, if it is one."""
        if self.last_tick(due) == due:
            return due
        return min(self._grid_tick(due) + self.spec.serving.every, self._boundary(self._index(due) + 1))

    def _grid_tick(self, now: datetime) -> datetime:
        return now - (now - self.start) % self.spec.serving.every

    def prediction_deadline(self, due: datetime) -> datetime:
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
