"""Charts of losses: per window over time, and of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import pandas as pd

from mlops_assets.charts.axes import local_times, mark_promotions, mark_retrains, marks_within, time_axis, value_axis
from mlops_assets.charts.bars import bar_chart
from mlops_assets.charts.figure import ChartFigure
from mlops_assets.charts.style import ROLES, TEXT, metric_name
from mlops_assets.evaluation.metrics import metric_value
from mlops_assets.spec.problem import GREATER_IS_BETTER, Metric


def error_over_time(
    table: pd.DataFrame,
    *,
    metric: Metric,
    promotions: Sequence[tuple[datetime, str]] = (),
    retrains: Sequence[datetime] = (),
    unit: str = "",
    zone: str = "UTC",
) -> bytes:
    """Draw the loss per window of the served model, the shadow model and the baseline.

    Args:
        table: window (start, UTC), and the losses served, shadow, baseline (NaN where there is none).
        metric: the metric of the losses; its own value is shown.
        promotions: time of each promotion, and its text, for example ``v2``.
        retrains: starts of the windows whose decision was RETRAIN.
        unit: the target's unit.
        zone: time zone of the axis.

    Returns:
        A PNG.
    """
    title = "Metric per window"
    if table.empty:
        return ChartFigure(title, 2.2).show_no_data()
    figure = ChartFigure(title, 3.7, caption=_metric_caption(metric))
    axes, at, handles = figure.axes[0], local_times(table["window"], zone), []
    promoted = marks_within(at, promotions, zone)
    for layer, role in enumerate(role for role in ("served", "shadow", "baseline") if role in table):
        name, colour, width, style = ROLES[role]
        values = table[role].astype(float).map(lambda loss: metric_value(metric, loss))
        look = {"color": colour, "linewidth": width, "linestyle": style, "zorder": 3 - layer * 0.1}
        if values.notna().any():
            handles += axes.plot(at, values, label=name, marker="o", markersize=3.2, **look)
    mark_promotions(axes, promoted)
    handles += mark_retrains(axes, marks_within(at, [(when, "") for when in retrains], zone))
    time_axis(axes, pd.DatetimeIndex([*at, *(when for when, _ in promoted)]))
    value_axis(axes, unit, zero=metric not in GREATER_IS_BETTER)
    figure.legend(handles)
    return figure.png(above=0.3 if promoted else 0.14)


def loss_comparison(
    losses: Mapping[str, float],
    *,
    metric: Metric,
    interval: tuple[float, float] | None = None,
    unit: str = "",
) -> bytes:
    """Draw the losses of an evaluation as bars.

    Args:
        losses: by role: candidate, champion, baseline, as far as they exist.
        metric: the metric of the losses; its own value is shown.
        interval: 95 % interval of champion loss - candidate loss; it is drawn on the candidate's bar as the champion's
            loss minus the interval.
        unit: the target's unit.

    Returns:
        A PNG.
    """
    roles = [role for role in ("candidate", "champion", "baseline") if role in losses]
    values = [metric_value(metric, losses[role]) for role in roles]
    caption, ends = _metric_caption(metric, unit), []
    if interval is not None and "champion" in losses and "candidate" in losses:
        caption += "; whisker: 95 % interval of the difference to the champion"
        ends = sorted(metric_value(metric, losses["champion"] - end) for end in interval)
    names = ["champion" if role == "champion" else ROLES[role][0] for role in roles]
    colours = [ROLES[role][1] for role in roles]
    figure = bar_chart(
        "Candidate, champion and baseline on the same unseen rows",
        caption,
        names,
        values,
        colours,
        pitch=0.4,
        first_reach=max(ends, default=0.0),
    )
    if ends:
        figure.axes[0].plot(ends, [0, 0], color=TEXT, linewidth=1.6, marker="|", markersize=9, zorder=5)
    return figure.png()


def _metric_caption(metric: Metric, unit: str = "") -> str:
    better = "higher is better" if metric in GREATER_IS_BETTER else "lower is better"
    return f"{metric_name(metric)}{f' ({unit})' if unit else ''}, {better}"
