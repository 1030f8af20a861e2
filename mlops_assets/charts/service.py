"""Charts of served predictions in one window: their features, and how the scoring service performed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pandas as pd

from mlops_assets.charts.axes import local_times, panel_title, time_axis
from mlops_assets.charts.figure import ChartFigure
from mlops_assets.charts.style import ALARM, BLUE, GREY, MUTED, ORANGE

MAX_FEATURES = 6
"""Largest number of panels."""


def service_over_time(requests: pd.DataFrame, *, step: timedelta, limit_ms: float, zone: str = "UTC") -> bytes:
    """Draw latency, predicted rows and errors of the scoring service over time.

    Args:
        requests: one row per request: now (the project's time, UTC), status (HTTP), latency_ms (per row), rows.
        step: requests of each step are summarised.
        limit_ms: limit of the 95th percentile of latency.
        zone: time zone of the axis.

    Returns:
        A PNG.
    """
    title = "Scoring service"
    if requests.empty:
        return ChartFigure(title, 2.2).show_no_data()
    table = requests.assign(at=local_times(requests["now"], zone).dt.floor(pd.Timedelta(step)))
    steps = pd.date_range(table["at"].min(), table["at"].max(), freq=pd.Timedelta(step))
    good, failed = table[table["status"].between(200, 299)], table[table["status"] >= 500]
    refused = table[table["status"].between(400, 499)]
    caption = f"dashed: limit of the 95th percentile of latency ({limit_ms:g} ms)"
    figure = ChartFigure(title, 4.4, caption=caption, panels=3)
    handles = []
    for share, name, colour in ((0.5, "p50", BLUE), (0.95, "p95", ORANGE)):
        speed = good.groupby("at")["latency_ms"].quantile(share).reindex(steps)
        handles += figure.axes[0].plot(steps, speed, color=colour, linewidth=1.5, marker="o", markersize=2, label=name)
    figure.axes[0].axhline(limit_ms, color=ALARM, linewidth=1.2, linestyle=(0, (5, 3)))
    figure.axes[0].set_ylim(0, None)
    # one outline per series: a rectangle per step would take longer than the rest of the chart
    edges = pd.date_range(steps[0] - pd.Timedelta(step) / 2, periods=len(steps) + 1, freq=pd.Timedelta(step))
    served = good.groupby("at")["rows"].sum().reindex(steps, fill_value=0)
    # align to whole pixels, which Agg does by default only for short outlines
    figure.axes[1].stairs(served, edges, fill=True, color=BLUE).set_snap(True)
    for kind, colour, name in ((refused, GREY, "refused (4xx)"), (failed, ALARM, "failed (5xx)")):
        counts = kind.groupby("at").size().reindex(steps, fill_value=0)
        handles.append(figure.axes[2].stairs(counts, edges, fill=True, color=colour, label=name))
        handles[-1].set_snap(True)
    figure.axes[2].set_ylim(0, max(1.0, figure.axes[2].get_ylim()[1]))
    for axes, name in zip(figure.axes, ("latency per row (ms)", "predicted rows", "errors"), strict=True):
        panel_title(axes, name)
        axes.tick_params(axis="y", colors=MUTED)
    time_axis(figure.axes[-1], steps + pd.Timedelta(step) / 2)
    figure.legend(handles)
    return figure.png(above=0.28, between=0.5)


def live_features(frame: pd.DataFrame, names: Sequence[str], *, zone: str = "UTC") -> bytes:
    """Draw the features of served predictions over time, a panel per feature.

    Args:
        frame: event_time (UTC) and features; of several entities the mean is drawn.
        names: features in order of importance; the first six numeric ones are drawn.
        zone: time zone of the axis.

    Returns:
        A PNG.
    """
    title = "Live features"
    numeric = [name for name in names if name in frame and pd.api.types.is_numeric_dtype(frame[name])]
    shown = numeric[:MAX_FEATURES]
    if frame.empty or not shown:
        return ChartFigure(title, 2.2).show_no_data()
    table = frame.groupby(local_times(frame["event_time"], zone))[shown].mean().sort_index()
    more = len(numeric) - len(shown)
    caption = "as logged with the predictions" + (f"; {more} more are not shown" if more else "")
    figure = ChartFigure(title, 1.3 + 0.85 * len(shown), caption=caption, panels=len(shown))
    for axes, name in zip(figure.axes, shown, strict=True):
        axes.plot(table.index, table[name], color=BLUE, linewidth=1.4)
        panel_title(axes, name)
    time_axis(figure.axes[-1], pd.DatetimeIndex(table.index))
    return figure.png(above=0.28, between=0.62)
