"""Charts of drift: per window over time, and per column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from mlops_assets.charts.axes import local_times, mark_promotions, marks_within, panel_title, time_axis
from mlops_assets.charts.bars import bar_chart
from mlops_assets.charts.figure import ChartFigure
from mlops_assets.charts.style import ALARM, CALM, ROLES, TEXT


def drift_over_time(
    table: pd.DataFrame,
    *,
    share: float,
    statistic: str,
    threshold: float | None = None,
    promotions: Sequence[tuple[datetime, str]] = (),
    zone: str = "UTC",
) -> bytes:
    """Draw the share of drifted columns and the drift of the predictions per window, each with its threshold.

    Args:
        table: window (start, UTC), share (0 to 1), prediction (distance); NaN where there were too few rows.
        share: threshold of the share of drifted columns, 0 to 1.
        statistic: name of the predictions' distance.
        threshold: limit of the predictions' distance; None if no policy uses it.
        promotions: time of each promotion, which changes the reference, and its text, for example ``v2``.
        zone: time zone of the axis.

    Returns:
        A PNG.
    """
    title = "Drift per window"
    if table.empty:
        return ChartFigure(title, 2.2).show_no_data()
    caption = "live rows compared with the champion's training data; orange: at or above the threshold"
    figure = ChartFigure(title, 4.3, caption=caption, panels=2)
    at = local_times(table["window"], zone)
    promoted = marks_within(at, promotions, zone)
    columns = [
        ("share", share, "drifted columns (%)", 100),
        ("prediction", threshold, f"drift of predictions ({statistic})", 1),
    ]
    for axes, (name, limit, label, scale) in zip(figure.axes, columns, strict=True):
        values = table[name].astype(float) * scale
        axes.plot(at, values, color=ROLES["served"][1], linewidth=1.9, marker="o", markersize=3.2)
        top = 104.0 if name == "share" else 1.15 * float(np.nan_to_num(values.max())) or 1.0
        if limit is not None:
            over = values.where(values >= limit * scale)
            axes.plot(at, over, color=ALARM, linewidth=0, marker="o", markersize=4.8)
            axes.axhline(limit * scale, color=ALARM, linewidth=1.2, linestyle=(0, (5, 3)))
            top = max(top, 1.25 * limit * scale)
        axes.set_ylim(-0.02 * top, top)
        panel_title(axes, label, pad=16 if promoted and axes is figure.axes[0] else 5)
        mark_promotions(axes, promoted if axes is figure.axes[0] else [(when, "") for when, _ in promoted])
    time_axis(figure.axes[-1], pd.DatetimeIndex([*at, *(when for when, _ in promoted)]))
    return figure.png(above=0.42 if promoted else 0.28, between=0.3)


def drifted_columns(scores: Mapping[str, float], *, threshold: float, statistic: str, most: int = 20) -> bytes:
    """Draw the distance of each column from the reference, the largest first, with the threshold.

    Args:
        scores: distance by column.
        threshold: distance from which a column counts as drifted.
        statistic: name of the distance.
        most: largest number of bars.

    Returns:
        A PNG.
    """
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    drifted = sum(value >= threshold for _, value in ranked)
    caption = f"{drifted} of {len(ranked)} at or above {threshold:g} ({statistic})"
    caption += f"; the {most} largest" if len(ranked) > most else ""
    shown = ranked[:most]
    far = bool(shown) and shown[0][1] > 20 * threshold
    caption += "; logarithmic scale beyond the threshold" if far else ""
    colours = [ALARM if value >= threshold else CALM for _, value in shown]
    figure = bar_chart("Drifted columns", caption, [name for name, _ in shown], [value for _, value in shown], colours)
    axes = figure.axes[0]
    if far:
        axes.set_xscale("symlog", linthresh=threshold)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(0, shown[0][1] * 2.5)
    axes.set_xlim(0, max(axes.get_xlim()[1], threshold * 1.3))
    axes.axvline(threshold, color=TEXT, linewidth=1.1, linestyle=(0, (4, 3)))
    return figure.png()
