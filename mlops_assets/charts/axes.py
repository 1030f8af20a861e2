"""Axes and marks of charts over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from mlops_assets.charts.style import ALARM, MUTED, TEXT


def local_times(times: pd.Series[Any], zone: str) -> pd.Series[Any]:
    """Return UTC times, aware or naive, as naive local times of a zone."""
    return pd.to_datetime(times, utc=True).dt.tz_convert(ZoneInfo(zone)).dt.tz_localize(None)


def time_axis(axes: Any, times: pd.DatetimeIndex) -> None:
    """Show concise dates on the horizontal axis, from the first to the last time with a small margin."""
    from matplotlib import dates

    locator: Any = dates.AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    formatter: Any = dates.ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    formatter.formats[2] = formatter.zero_formats[2] = formatter.zero_formats[3] = "%d %b"
    formatter.offset_formats[2] = "%Y"
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.get_offset_text().set(color=MUTED, size=9)
    edge = (times.max() - times.min()) * 0.015 or pd.Timedelta(hours=1)
    axes.set_xlim(times.min() - edge, times.max() + edge)


def panel_title(axes: Any, text: str, *, pad: float = 3) -> None:
    """Write a panel's title above it at the left, `pad` points away."""
    # y=1.0 is the default position; when it is not given, matplotlib lays out all ticks once more to find it
    axes.set_title(text, loc="left", y=1.0, pad=pad, fontsize=9.4, color=TEXT)


def value_axis(axes: Any, unit: str, *, zero: bool = True) -> None:
    """Show the unit, and begin the axis at zero unless there are negative values."""
    if zero and axes.dataLim.ymin >= 0:
        axes.set_ylim(bottom=0)
    if unit:
        axes.set_ylabel(unit, color=MUTED, fontsize=9)


def usual_step(times: pd.Index[Any]) -> Any:
    """Return the median distance between times; a day if there is only one."""
    return pd.Series(times).diff().median() if len(times) > 1 else pd.Timedelta(days=1)


def marks_within(
    at: pd.Series[Any], marks: Sequence[tuple[datetime, str]], zone: str
) -> list[tuple[pd.Timestamp, str]]:
    """Return marks (time, text) in local time, without those more than one step outside of the times `at`."""
    step = usual_step(pd.Index(at))
    local = [pd.Timestamp(when).tz_convert(ZoneInfo(zone)).tz_localize(None) for when, _ in marks]
    low, high = at.min() - step, at.max() + step
    return [(when, label) for when, (_, label) in zip(local, marks, strict=True) if low <= when <= high]


def mark_promotions(axes: Any, promotions: Sequence[tuple[pd.Timestamp, str]]) -> None:
    """Draw a dashed vertical line with its text at each promotion."""
    for when, label in promotions:
        axes.axvline(when, color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        look = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "size": 8.6, "color": MUTED}
        axes.annotate(label, (when, 1), (3, 2), **look)


def mark_retrains(axes: Any, retrains: Sequence[tuple[pd.Timestamp, str]]) -> list[Any]:
    """Draw a triangle at each decision RETRAIN; return the handles for the legend."""
    if not retrains:
        return []
    look = {"linewidth": 0, "marker": "^", "markersize": 7.5, "color": ALARM, "zorder": 6, "label": "decision RETRAIN"}
    at = [when for when, _ in retrains]
    return list(axes.plot(at, np.full(len(at), 0.045), transform=axes.get_xaxis_transform(), **look))
