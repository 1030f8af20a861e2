"""All pictures of the platform: each takes a table and returns a PNG that reads on a light and on a dark page.

Who is who has one colour everywhere, told apart by lightness and line style too.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from mlops_assets.charts.style import (
    ALARM,
    BACKGROUND,
    BLUE,
    CALM,
    GREEN,
    GREY,
    GRID,
    MUTED,
    ORANGE,
    ROSE,
    SHADE,
    SKY,
    TEXT,
    YELLOW,
    Chart,
    local_times,
    panel_title,
    time_axis,
    value_axis,
)
from mlops_assets.evaluation.error_band import half_width
from mlops_assets.evaluation.metrics import metric_value
from mlops_assets.spec.problem import GREATER_IS_BETTER, Metric

LineStyle = str | tuple[int, tuple[int, int]]
ROLES: dict[str, tuple[str, str, float, LineStyle]] = {
    # role: name in legends, colour, line width, line style
    "label": ("label", TEXT, 1.3, "-"),
    "champion": ("served", BLUE, 1.9, "-"),
    "served": ("served", BLUE, 2.2, "-"),
    "candidate": ("candidate", GREEN, 1.9, "-"),
    "shadow": ("shadow model", ORANGE, 1.7, "-"),
    "baseline": ("baseline", GREY, 1.4, (0, (4, 2))),
}
CLASS_COLOURS = [SKY, ORANGE, GREEN, ROSE, YELLOW, BLUE, ALARM, GREY]
METRICS: dict[str, str] = {
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "mse": "mean squared error",
    "mape": "mean absolute percentage error",
    "median_ae": "median absolute error",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "f1_macro": "F1, mean of classes",
    "log_loss": "log loss",
    "roc_auc": "area under the ROC curve",
    "logloss": "log loss",
    "auc": "area under the ROC curve",
}


def markdown_image(png: bytes, alt: str) -> str:
    """A picture inside Markdown, as a data URI, for the metadata of an asset."""
    return f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})"


def predictions_against_labels(
    frame: pd.DataFrame,
    *,
    title: str = "Forecast against truth",
    unit: str = "",
    zone: str = "UTC",
    days: int = 14,
    usual: tuple[Metric, float] | None = None,
) -> bytes:
    """What was forecast, over what came: lines for numbers, one coloured strip per side for classes.

    Args:
        frame: event_time (UTC, aware or naive), truth, and any of champion, shadow, candidate, baseline, as numbers
            or class names; several entities are averaged (numbers) or the first is shown (classes).
        title: what is seen.
        unit: of the target, for the axis.
        zone: whose local time the axis shows.
        days: the newest so many are drawn, since more can not be told apart.
        usual: metric and loss as measured before, for a band of the usual error around what was served; numbers only.
    """
    order = ("label", "champion", "candidate", "shadow", "baseline")
    sides = [side for side in order if side == "label" or (side in frame and frame[side].notna().any())]
    if frame.empty:
        return Chart(title, 2.2).show_no_data()
    table = frame.assign(at=local_times(frame["event_time"], zone))
    table = table[table["at"] > table["at"].max() - pd.Timedelta(days=days)]
    caption = "" if len(table) == len(frame) else f"the newest {days} days"
    if not pd.api.types.is_numeric_dtype(table["label"]):
        return _class_strips(table.drop_duplicates("at").sort_values("at"), sides, title, caption)
    table = table.groupby("at")[sides].mean().sort_index()
    if len(table) > 1:  # missing steps are gaps in the lines
        table = table.reindex(pd.date_range(table.index[0], table.index[-1], freq=_step(table.index)))
    card = Chart(title, 3.5, caption=caption)
    axes, handles, bands = card.axes[0], [], []
    axes.fill_between(table.index, table["label"].to_numpy(), color=SHADE, linewidth=0)
    if usual is not None and "champion" in sides:
        served, half = table["champion"], half_width(*usual, table["champion"].to_numpy())
        look = {"color": SKY, "alpha": 0.3, "linewidth": 0, "zorder": 2, "label": "usual error"}
        bands.append(axes.fill_between(table.index, served - half, served + half, **look))
    for layer, side in enumerate(sides):
        name, colour, width, style = ROLES[side]
        # the baseline lowest and the served one, named first, on top of the other answers
        look = {"color": colour, "linewidth": width, "linestyle": style, "zorder": 3 - layer * 0.1}
        handles += axes.plot(table.index, table[side], label=name, **look)
    time_axis(axes, table.index)
    value_axis(axes, unit)
    card.legend([*handles, *bands])
    return card.png()


def error_over_time(
    table: pd.DataFrame,
    *,
    metric: Metric,
    promotions: Sequence[tuple[datetime, str]] = (),
    retrains: Sequence[datetime] = (),
    title: str = "Error per window",
    unit: str = "",
    zone: str = "UTC",
) -> bytes:
    """The served model beside the first one and the baseline, window by window.

    Args:
        table: window (start, UTC), and the losses served, shadow, baseline (NaN where there is none).
        metric: what the losses are of; shown on the metric's own scale.
        promotions: when another version began to serve, and its label, as ``v2``.
        retrains: windows whose decision was RETRAIN.
        title: what is seen.
        unit: of the target.
        zone: whose local time the axis shows.
    """
    if table.empty:
        return Chart(title, 2.2).show_no_data()
    card = Chart(title, 3.7, caption=_metric_caption(metric))
    axes, at, handles = card.axes[0], local_times(table["window"], zone), []
    deployment_periods = _within(at, promotions, zone)
    for layer, side in enumerate(side for side in ("served", "shadow", "baseline") if side in table):
        name, colour, width, style = ROLES[side]
        values = table[side].astype(float).map(lambda loss: metric_value(metric, loss))
        look = {"color": colour, "linewidth": width, "linestyle": style, "zorder": 3 - layer * 0.1}
        if values.notna().any():
            handles += axes.plot(at, values, label=name, marker="o", markersize=3.2, **look)
    _mark_promotions(axes, deployment_periods)
    handles += _mark_retrains(axes, _within(at, [(when, "") for when in retrains], zone))
    time_axis(axes, pd.DatetimeIndex([*at, *(when for when, _ in deployment_periods)]))
    value_axis(axes, unit, zero=metric not in GREATER_IS_BETTER)
    card.legend(handles)
    return card.png(above=0.3 if deployment_periods else 0.14)


def drift_over_time(
    table: pd.DataFrame,
    *,
    share: float,
    statistic: str,
    threshold: float | None = None,
    promotions: Sequence[tuple[datetime, str]] = (),
    title: str = "Drift per window",
    zone: str = "UTC",
) -> bytes:
    """Share of drifted columns above, distance of the predictions below, each with its threshold.

    Args:
        table: window (start, UTC), share (0 to 1), prediction (distance); NaN where a deployment period was too young.
        share: from which the data count as drifted.
        statistic: the predictions' distance.
        threshold: of the predictions' distance; None where no policy reads it.
        promotions: when another version, and with it another reference, began to serve, and its label.
        title: what is seen.
        zone: whose local time the axis shows.
    """
    if table.empty:
        return Chart(title, 2.2).show_no_data()
    caption = "live rows against the reference of the serving version; orange: at or above the threshold"
    card = Chart(title, 4.3, caption=caption, panels=2)
    at = local_times(table["window"], zone)
    deployment_periods = _within(at, promotions, zone)
    columns = [("share", share, "drifted columns (%)", 100), ("prediction", threshold, f"predictions ({statistic})", 1)]
    for axes, (name, limit, label, scale) in zip(card.axes, columns, strict=True):
        values = table[name].astype(float) * scale
        axes.plot(at, values, color=ROLES["served"][1], linewidth=1.9, marker="o", markersize=3.2)
        top = 104.0 if name == "share" else 1.15 * float(np.nan_to_num(values.max())) or 1.0
        if limit is not None:
            over = values.where(values >= limit * scale)
            axes.plot(at, over, color=ALARM, linewidth=0, marker="o", markersize=4.8)
            axes.axhline(limit * scale, color=ALARM, linewidth=1.2, linestyle=(0, (5, 3)))
            top = max(top, 1.25 * limit * scale)
        axes.set_ylim(-0.02 * top, top)
        panel_title(axes, label, pad=16 if deployment_periods and axes is card.axes[0] else 5)
        _mark_promotions(
            axes, deployment_periods if axes is card.axes[0] else [(when, "") for when, _ in deployment_periods]
        )
    time_axis(card.axes[-1], pd.DatetimeIndex([*at, *(when for when, _ in deployment_periods)]))
    return card.png(above=0.42 if deployment_periods else 0.28, between=0.3)


def drifted_columns(
    scores: Mapping[str, float], *, threshold: float, statistic: str, title: str = "Drifted columns", most: int = 20
) -> bytes:
    """Distance of each column from the reference, the farthest first, with the threshold.

    Args:
        scores: distance per column.
        threshold: from which a column counts as drifted.
        statistic: what the distances are.
        title: what is seen.
        most: bars at most.
    """
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    drifted = sum(value >= threshold for _, value in ranked)
    caption = f"{drifted} of {len(ranked)} at or above {threshold:g} ({statistic})"
    caption += f"; the farthest {most}" if len(ranked) > most else ""
    shown = ranked[:most]
    far = bool(shown) and shown[0][1] > 20 * threshold
    caption += "; logarithmic beyond it" if far else ""
    colours = [ALARM if value >= threshold else CALM for _, value in shown]
    card = _bars(title, caption, [name for name, _ in shown], [value for _, value in shown], colours)
    axes = card.axes[0]
    if far:
        axes.set_xscale("symlog", linthresh=threshold)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(0, shown[0][1] * 2.5)
    axes.set_xlim(0, max(axes.get_xlim()[1], threshold * 1.3))
    axes.axvline(threshold, color=TEXT, linewidth=1.1, linestyle=(0, (4, 3)))
    return card.png()


def leaderboard(table: pd.DataFrame, *, metric: Metric, title: str = "Models that were tried") -> bytes:
    """How good each model was on rows later than those it was fitted on, the best first and marked.

    Args:
        table: best first; its first column names the model, its second is what ranked it, as H2O's leaderboard.
        metric: the project's; the caption names it where another one stood in for it.
        title: what is seen.
    """
    name, ranked = table.columns[:2]
    caption = f"ranked by {METRICS.get(ranked, ranked)}"
    caption += (
        ""
        if METRICS.get(ranked, ranked) == METRICS.get(metric, metric)
        else f", which stands in for {METRICS.get(metric, metric)}"
    )
    colours = [ROLES["candidate"][1], *[CALM] * (len(table) - 1)][: len(table)]
    return _bars(title, f"{caption}; the first is taken", list(table[name]), list(table[ranked]), colours).png()


def variable_importance(table: pd.DataFrame, *, title: str = "What the model looks at", most: int = 15) -> bytes:
    """How much each variable counts.

    Args:
        table: variable, percentage (0 to 1, of all together 1); greatest first, as H2O gives it.
        title: what is seen.
        most: bars at most.
    """
    shown, rest = table.head(most), table.iloc[most:]
    caption = "share of the variable importance, in %"
    caption += f"; {len(rest)} more share {100 * float(rest['percentage'].sum()):.0f} %" if len(rest) else ""
    shares = [100 * float(value) for value in shown["percentage"]]
    return _bars(title, caption, list(shown["variable"]), shares, [ROLES["champion"][1]] * len(shown)).png()


def loss_comparison(
    losses: Mapping[str, float],
    *,
    metric: Metric,
    interval: tuple[float, float] | None = None,
    title: str = "Candidate and its rivals on the same unseen rows",
    unit: str = "",
) -> bytes:
    """The verdict's losses side by side.

    Args:
        losses: of candidate, champion, baseline, those there are.
        metric: what the losses are of; shown on the metric's own scale.
        interval: 95 % interval of champion loss - candidate loss, drawn on the candidate's bar: where its loss would
            lie if the champion's were as measured.
        title: what is seen.
        unit: of the target.
    """
    sides = [side for side in ("candidate", "champion", "baseline") if side in losses]
    values = [metric_value(metric, losses[side]) for side in sides]
    caption, ends = _metric_caption(metric, unit), []
    if interval is not None and "champion" in losses and "candidate" in losses:
        caption += "; whisker: 95 % interval of the distance to the champion"
        ends = sorted(metric_value(metric, losses["champion"] - end) for end in interval)
    names = ["champion" if side == "champion" else ROLES[side][0] for side in sides]
    colours = [ROLES[side][1] for side in sides]
    card = _bars(title, caption, names, values, colours, pitch=0.4, first_reach=max(ends, default=0.0))
    if ends:
        card.axes[0].plot(ends, [0, 0], color=TEXT, linewidth=1.6, marker="|", markersize=9, zorder=5)
    return card.png()


def _bars(
    title: str,
    caption: str,
    names: Sequence[str],
    values: Sequence[float],
    colours: Sequence[str],
    *,
    pitch: float = 0.235,
    first_reach: float = 0.0,
) -> Chart:
    """A card of horizontal bars, `pitch` inches apart, the first on top, each with its value to the right of it."""
    shown = max(len(names), 2)
    card = Chart(title, 1.3 + pitch * shown, caption=caption, dated=False)
    axes, rows = card.axes[0], np.arange(len(names))
    axes.barh(rows, values, color=colours, height=0.68)
    behind = {"facecolor": BACKGROUND, "edgecolor": "none", "pad": 0.8}
    for row, value in enumerate(values):
        at = (max(value, first_reach if row == 0 else value), row)
        look = {"va": "center", "size": 8.6, "color": TEXT, "bbox": behind, "zorder": 4}
        axes.annotate(_number(value), at, (5, 0), textcoords="offset points", **look)
    axes.set_yticks(rows, [_shortened(str(name)) for name in names], color=TEXT)
    axes.set_ylim(shown - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max([*values, first_reach, 1e-12]))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    return card


def _metric_caption(metric: Metric, unit: str = "") -> str:
    better = "higher is better" if metric in GREATER_IS_BETTER else "lower is better"
    return f"{METRICS.get(metric, metric)}{f' ({unit})' if unit else ''}, {better}"


def _shortened(name: str, most: int = 46) -> str:
    """A long name without its middle: the series in front and the setting at the end tell features apart."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.2g}"


def _step(times: pd.Index[Any]) -> Any:
    """The usual distance between times; a day where there is only one."""
    return pd.Series(times).diff().median() if len(times) > 1 else pd.Timedelta(days=1)


def _within(at: pd.Series[Any], marks: Sequence[tuple[datetime, str]], zone: str) -> list[tuple[pd.Timestamp, str]]:
    """Marks in local time, as far as they lie among the windows or one beyond."""
    step = _step(pd.Index(at))
    local = [pd.Timestamp(when).tz_convert(ZoneInfo(zone)).tz_localize(None) for when, _ in marks]
    low, high = at.min() - step, at.max() + step
    return [(when, label) for when, (_, label) in zip(local, marks, strict=True) if low <= when <= high]


def _mark_promotions(axes: Any, promotions: Sequence[tuple[pd.Timestamp, str]]) -> None:
    for when, label in promotions:
        axes.axvline(when, color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        look = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "size": 8.6, "color": MUTED}
        axes.annotate(label, (when, 1), (3, 2), **look)


def _mark_retrains(axes: Any, retrains: Sequence[tuple[pd.Timestamp, str]]) -> list[Any]:
    if not retrains:
        return []
    look = {"linewidth": 0, "marker": "^", "markersize": 7.5, "color": ALARM, "zorder": 6, "label": "decision RETRAIN"}
    at = [when for when, _ in retrains]
    return list(axes.plot(at, np.full(len(at), 0.045), transform=axes.get_xaxis_transform(), **look))


def _class_strips(table: pd.DataFrame, sides: list[str], title: str, caption: str) -> bytes:
    from matplotlib.patches import Patch

    classes = sorted({str(name) for side in sides for name in table[side].dropna()})
    colour = {name: CLASS_COLOURS[i % len(CLASS_COLOURS)] for i, name in enumerate(classes)}
    card = Chart(title, 1.45 + 0.42 * len(sides), caption=caption or "class at each time")
    axes, step = card.axes[0], _step(pd.Index(table["at"]))
    labels = []
    for row, side in enumerate(sides):
        for name in classes:
            spans = [(at, step) for at in table.loc[table[side].astype(str) == name, "at"]]
            axes.broken_barh(spans, (row - 0.36, 0.72), facecolors=colour[name], linewidth=0)
        right = (table[side] == table["label"])[table[side].notna()].mean()
        labels.append(ROLES[side][0] if side == "label" else f"{ROLES[side][0]}: {100 * right:.0f} % right")
    axes.set_yticks(range(len(sides)), labels, color=TEXT)
    axes.set_ylim(len(sides) - 0.4, -0.6)
    axes.grid(visible=False)
    time_axis(axes, pd.DatetimeIndex(table["at"]))
    card.legend([Patch(color=colour[name], label=name) for name in classes])
    return card.png()
