"""Charts of a trained model: AutoML's leaderboard, and variable importance."""

from __future__ import annotations

import pandas as pd

from mlops_assets.charts.bars import bar_chart
from mlops_assets.charts.style import CALM, ROLES, metric_name
from mlops_assets.spec.problem import Metric


def leaderboard(table: pd.DataFrame, *, metric: Metric) -> bytes:
    """Draw the metric of each model that AutoML tried, on later rows than it was fitted on; the best is marked.

    Args:
        table: H2O's leaderboard, best first: its first column is the model's name, its second the ranking metric.
        metric: the project's metric; the caption says so if models were ranked by another one.

    Returns:
        A PNG.
    """
    name, ranked = table.columns[:2]
    caption = f"ranked by {metric_name(ranked)}"
    if metric_name(ranked) != metric_name(metric):
        caption += f", in place of {metric_name(metric)}"
    colours = [ROLES["candidate"][1], *[CALM] * (len(table) - 1)][: len(table)]
    return bar_chart(
        "Models that AutoML tried",
        f"{caption}; the first model is the candidate",
        list(table[name]),
        list(table[ranked]),
        colours,
    ).png()


def variable_importance(table: pd.DataFrame, *, most: int = 15) -> bytes:
    """Draw the importance of each variable.

    Args:
        table: H2O's variable importance, greatest first: variable, percentage (0 to 1; the sum is 1).
        most: largest number of bars.

    Returns:
        A PNG.
    """
    shown, rest = table.head(most), table.iloc[most:]
    caption = "share of the total variable importance, in %"
    caption += f"; {len(rest)} more have {100 * float(rest['percentage'].sum()):.0f} % together" if len(rest) else ""
    shares = [100 * float(value) for value in shown["percentage"]]
    return bar_chart(
        "Most important features", caption, list(shown["variable"]), shares, [ROLES["champion"][1]] * len(shown)
    ).png()
