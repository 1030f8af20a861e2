"""The chart of predictions and labels over time."""

from __future__ import annotations

import pandas as pd

from mlops_assets.charts.axes import local_times, time_axis, usual_step, value_axis
from mlops_assets.charts.figure import ChartFigure
from mlops_assets.charts.style import CLASS_COLOURS, ROLES, SHADE, SKY, TEXT
from mlops_assets.evaluation.error_band import half_width
from mlops_assets.spec.problem import Metric


def predictions_against_labels(
    frame: pd.DataFrame,
    *,
    title: str = "Predictions and labels",
    unit: str = "",
    zone: str = "UTC",
    days: int = 14,
    measured: tuple[Metric, float] | None = None,
) -> bytes:
    """Draw predictions and labels over time: lines for numbers, a strip of colours per role for classes.

    Args:
        frame: event_time (UTC, aware or naive), label, and any of champion, shadow, candidate, baseline, as numbers
            or class names; of several entities the mean is drawn (numbers), or the first (classes).
        title: what the chart shows.
        unit: the target's unit, for the axis.
        zone: time zone of the axis.
        days: only the newest days are drawn, so that single steps can be seen.
        measured: metric and loss of earlier predictions, for an error band around the served ones; numbers only.

    Returns:
        A PNG.
    """
    order = ("label", "champion", "candidate", "shadow", "baseline")
    roles = [role for role in order if role == "label" or (role in frame and frame[role].notna().any())]
    if frame.empty:
        return ChartFigure(title, 2.2).show_no_data()
    table = frame.assign(at=local_times(frame["event_time"], zone))
    table = table[table["at"] > table["at"].max() - pd.Timedelta(days=days)]
    caption = "" if len(table) == len(frame) else f"newest {days} days"
    if not pd.api.types.is_numeric_dtype(table["label"]):
        return _class_strips(table.drop_duplicates("at").sort_values("at"), roles, title, caption)
    table = table.groupby("at")[roles].mean().sort_index()
    if len(table) > 1:  # missing steps are gaps in the lines
        table = table.reindex(pd.date_range(table.index[0], table.index[-1], freq=usual_step(table.index)))
    figure = ChartFigure(title, 3.5, caption=caption)
    axes, handles, bands = figure.axes[0], [], []
    axes.fill_between(table.index, table["label"].to_numpy(), color=SHADE, linewidth=0)
    if measured is not None and "champion" in roles:
        served, half = table["champion"], half_width(*measured, table["champion"].to_numpy())
        look = {"color": SKY, "alpha": 0.3, "linewidth": 0, "zorder": 2, "label": "error band"}
        bands.append(axes.fill_between(table.index, served - half, served + half, **look))
    for layer, role in enumerate(roles):
        name, colour, width, style = ROLES[role]
        # the first roles are drawn on top, the baseline lowest
        look = {"color": colour, "linewidth": width, "linestyle": style, "zorder": 3 - layer * 0.1}
        handles += axes.plot(table.index, table[role], label=name, **look)
    time_axis(axes, table.index)
    value_axis(axes, unit)
    figure.legend([*handles, *bands])
    return figure.png()


def _class_strips(table: pd.DataFrame, roles: list[str], title: str, caption: str) -> bytes:
    from matplotlib.patches import Patch

    classes = sorted({str(name) for role in roles for name in table[role].dropna()})
    colour = {name: CLASS_COLOURS[i % len(CLASS_COLOURS)] for i, name in enumerate(classes)}
    figure = ChartFigure(title, 1.45 + 0.42 * len(roles), caption=caption or "class at each time")
    axes, step = figure.axes[0], usual_step(pd.Index(table["at"]))
    texts = []
    for row, role in enumerate(roles):
        for name in classes:
            spans = [(at, step) for at in table.loc[table[role].astype(str) == name, "at"]]
            axes.broken_barh(spans, (row - 0.36, 0.72), facecolors=colour[name], linewidth=0)
        right = (table[role] == table["label"])[table[role].notna()].mean()
        texts.append(ROLES[role][0] if role == "label" else f"{ROLES[role][0]}: {100 * right:.0f} % correct")
    axes.set_yticks(range(len(roles)), texts, color=TEXT)
    axes.set_ylim(len(roles) - 0.4, -0.6)
    axes.grid(visible=False)
    time_axis(axes, pd.DatetimeIndex(table["at"]))
    figure.legend([Patch(color=colour[name], label=name) for name in classes])
    return figure.png()
