"""Horizontal bars with their values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlops_assets.charts.figure import ChartFigure
from mlops_assets.charts.style import BACKGROUND, GRID, TEXT, number_text


def bar_chart(
    title: str,
    caption: str,
    names: Sequence[str],
    values: Sequence[float],
    colours: Sequence[str],
    *,
    pitch: float = 0.235,
    first_reach: float = 0.0,
) -> ChartFigure:
    """Draw horizontal bars, the first on top, each with its value to the right of it.

    Args:
        title: what the chart shows.
        caption: how to read it, in one line.
        names: name of each bar.
        values: length of each bar; not negative.
        colours: colour of each bar.
        pitch: inches between bars.
        first_reach: the value of the first bar is written to the right of this position, for an interval drawn on it.
    """
    shown = max(len(names), 2)
    figure = ChartFigure(title, 1.3 + pitch * shown, caption=caption, dated=False)
    axes, rows = figure.axes[0], np.arange(len(names))
    axes.barh(rows, values, color=colours, height=0.68)
    behind = {"facecolor": BACKGROUND, "edgecolor": "none", "pad": 0.8}
    for row, value in enumerate(values):
        at = (max(value, first_reach if row == 0 else value), row)
        look = {"va": "center", "size": 8.6, "color": TEXT, "bbox": behind, "zorder": 4}
        axes.annotate(number_text(value), at, (5, 0), textcoords="offset points", **look)
    axes.set_yticks(rows, [_shortened(str(name)) for name in names], color=TEXT)
    axes.set_ylim(shown - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max([*values, first_reach, 1e-12]))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    return figure


def _shortened(name: str, most: int = 46) -> str:
    """Return a long name without its middle, since features differ in column (front) and setting (end)."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"
