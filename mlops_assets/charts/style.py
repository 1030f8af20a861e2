"""Colours, roles and names that all charts share."""

from __future__ import annotations

BACKGROUND, EDGE, GRID, TEXT, MUTED = "#fafbfc", "#d3d8df", "#e3e7ec", "#262b33", "#5d6673"
SHADE = "#eceef1"
"""Colour of an area under a line."""
BLUE, GREEN, ORANGE, GREY, ALARM, CALM = "#0072b2", "#009e73", "#e69f00", "#8b929c", "#d55e00", "#8fb8d6"
SKY, ROSE, YELLOW = "#56b4e9", "#cc79a7", "#f0e442"
INKS = [EDGE, GRID, TEXT, MUTED, SHADE, BLUE, GREEN, ORANGE, GREY, ALARM, CALM, SKY, ROSE, YELLOW]
"""All colours but the background; distinguishable by colour-blind readers (M. Okabe, K. Ito, Color Universal Design,
2008)."""
CLASS_COLOURS = [SKY, ORANGE, GREEN, ROSE, YELLOW, BLUE, ALARM, GREY]

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
"""How each role is drawn in every chart: one colour, and a width and style that differ without colour, too."""

METRIC_NAMES: dict[str, str] = {
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
"""Names of our metrics and of H2O's for captions; others are shown as they are."""


def metric_name(metric: str) -> str:
    """Return a metric's name for a caption."""
    return METRIC_NAMES.get(metric, metric)


def number_text(value: float) -> str:
    """Return a number with three significant digits, from 1,000 on without decimals."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.2g}"
