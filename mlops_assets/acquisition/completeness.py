"""Finds the rows that a window lacks: gaps on the grid, and fewer rows than usual. Gaps are never filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

import numpy as np
import pandas as pd

from mlops_assets.prediction.schema import ENTITY, EVENT_TIME
from mlops_assets.timeline import Timeline, Window, as_datetime64, iso

LEAST_SHARE_OF_USUAL = 0.5
"""A window with less than this share of the usual number of rows fails the check `volume`."""


@dataclass(frozen=True)
class Gap:
    """An interval [start, end) of the grid without rows, in one series."""

    entity: str | None
    start: datetime
    end: datetime
    steps: int

    def __str__(self) -> str:
        of = f" of {self.entity}" if self.entity else ""
        return f"{self.steps} rows{of} from {iso(self.start)} to {iso(self.end)}"


@dataclass(frozen=True)
class Volume:
    """How many rows a window has, and how many are expected."""

    rows: int
    expected: int
    """Number of steps of the grid, times the number of series in the window."""
    usual: float | None
    """Median of the previous windows; None for the first window."""

    @property
    def passed(self) -> bool:
        """Whether there are at least half as many rows as usual; for the first window, as expected."""
        usual = self.expected if self.usual is None else self.usual
        return self.rows > 0 and self.rows >= LEAST_SHARE_OF_USUAL * usual


def gaps(frame: pd.DataFrame, timeline: Timeline, window: Window) -> list[Gap]:
    """Return the intervals of the window's grid in which a series has no row.

    Args:
        frame: the rows of the window. A series without any row is not known, and has no gap.
        timeline: the project's time.
        window: the window.
    """
    if ENTITY in frame:
        return [
            gap for name, rows in frame.groupby(ENTITY) for gap in _gaps(rows[EVENT_TIME], timeline, window, str(name))
        ]
    return list(_gaps(frame[EVENT_TIME], timeline, window, None))


def volume(frame: pd.DataFrame, timeline: Timeline, window: Window, earlier: Sequence[int]) -> Volume:
    """Compare the number of rows with the grid and with the previous windows.

    Args:
        frame: the window's rows.
        timeline: the project's time.
        window: the window.
        earlier: number of rows of each of the previous windows that are published.
    """
    series = max(1, frame[ENTITY].nunique()) if ENTITY in frame else 1
    first, last = _cells(timeline, window)
    return Volume(len(frame), (last - first) * series, float(median(earlier)) if earlier else None)


def _cells(timeline: Timeline, window: Window) -> tuple[int, int]:
    bounds = np.array([as_datetime64(window.start), as_datetime64(window.end)])
    first, last = timeline.grid.steps_up(bounds)
    return int(first), int(last)


def _gaps(times: pd.Series, timeline: Timeline, window: Window, entity: str | None) -> list[Gap]:
    first, last = _cells(timeline, window)
    stamps = pd.DatetimeIndex(times).tz_convert("UTC").tz_localize(None).to_numpy()
    absent = np.setdiff1d(np.arange(first, last), timeline.grid.steps_up(stamps))
    if not len(absent):
        return []
    stretches = np.split(absent, np.flatnonzero(np.diff(absent) != 1) + 1)
    at = [(int(stretch[0]), int(stretch[-1]) + 1) for stretch in stretches]
    return [Gap(entity, timeline.grid.point(begin), timeline.grid.point(end), end - begin) for begin, end in at]
