"""Pictures of a window as it was lived: what the model was given, and how the service did."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pandas as pd

from mlops_assets.charts.style import ALARM, BLUE, GREY, MUTED, ORANGE, Chart, local_times, panel_title, time_axis

MOST_FEATURES = 6
"""Panels of a picture."""


def live_features(
    frame: pd.DataFrame, names: Sequence[str], *, title: str = "Live features", zone: str = "UTC"
) -> bytes:
    """What the model was given, a panel per feature.

    Args:
        frame: event_time (UTC) and features as numbers; several entities are averaged.
        names: features in the order of importance; the first six that are numbers are drawn.
        title: what is seen.
        zone: whose local time the axis shows.
    """
    numeric = [name for name in names if name in frame and pd.api.types.is_numeric_dtype(frame[name])]
    shown = numeric[:MOST_FEATURES]
    if frame.empty or not shown:
        return Chart(title, 2.2).show_no_data()
    table = frame.groupby(local_times(frame["event_time"], zone))[shown].mean().sort_index()
    more = len(numeric) - len(shown)
    caption = "as recorded with the answers" + (f"; {more} more are recorded" if more else "")
    card = Chart(title, 1.3 + 0.85 * len(shown), caption=caption, panels=len(shown))
    for axes, name in zip(card.axes, shown, strict=True):
        axes.plot(table.index, table[name], color=BLUE, linewidth=1.4)
        panel_title(axes, name)
    time_axis(card.axes[-1], pd.DatetimeIndex(table.index))
    return card.png(above=0.28, between=0.62)


def service_over_time(
    requests: pd.DataFrame, *, step: timedelta, limit_ms: float, title: str = "The service", zone: str = "UTC"
) -> bytes:
    """Latency above, rows answered in the middle, errors below.

    Args:
        requests: now (the project's time, UTC), status, latency_ms (per row), rows; one row per request.
        step: what is put together.
        limit_ms: what the 95th percentile of latency should stay below.
        title: what is seen.
        zone: whose local time the axis shows.
    """
    if requests.empty:
        return Chart(title, 2.2).show_no_data()
    table = requests.assign(at=local_times(requests["now"], zone).dt.floor(pd.Timedelta(step)))
    steps = pd.date_range(table["at"].min(), table["at"].max(), freq=pd.Timedelta(step))
    good, failed = table[table["status"].between(200, 299)], table[table["status"] >= 500]
    refused = table[table["status"].between(400, 499)]
    caption = f"dashed: what the 95th percentile should stay below ({limit_ms:g} ms)"
    card = Chart(title, 4.4, caption=caption, panels=3)
    handles = []
    for share, name, colour in ((0.5, "p50", BLUE), (0.95, "p95", ORANGE)):
        speed = good.groupby("at")["latency_ms"].quantile(share).reindex(steps)
        handles += card.axes[0].plot(steps, speed, color=colour, linewidth=1.5, marker="o", markersize=2, label=name)
    card.axes[0].axhline(limit_ms, color=ALARM, linewidth=1.2, linestyle=(0, (5, 3)))
    card.axes[0].set_ylim(0, None)
    # one outline a series: a rectangle a step takes longer than all the rest of the picture
    edges = pd.date_range(steps[0] - pd.Timedelta(step) / 2, periods=len(steps) + 1, freq=pd.Timedelta(step))
    served = good.groupby("at")["rows"].sum().reindex(steps, fill_value=0)
    # snapped to whole pixels: by itself Agg does that for short outlines only
    card.axes[1].stairs(served, edges, fill=True, color=BLUE).set_snap(True)
    for kind, colour, name in ((refused, GREY, "refused (4xx)"), (failed, ALARM, "failed (5xx)")):
        counts = kind.groupby("at").size().reindex(steps, fill_value=0)
        handles.append(card.axes[2].stairs(counts, edges, fill=True, color=colour, label=name))
        handles[-1].set_snap(True)
    card.axes[2].set_ylim(0, max(1.0, card.axes[2].get_ylim()[1]))
    for axes, name in zip(card.axes, ("latency per row (ms)", "rows answered", "errors"), strict=True):
        panel_title(axes, name)
        axes.tick_params(axis="y", colors=MUTED)
    time_axis(card.axes[-1], steps + pd.Timedelta(step) / 2)
    card.legend(handles)
    return card.png(above=0.28, between=0.5)
