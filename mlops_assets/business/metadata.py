"""The metadata of the business assets in the UI."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mlops_assets.charts.predictions import predictions_against_labels
from mlops_assets.evaluation.evaluator import Evaluation
from mlops_assets.source.project_source import LabelledRows
from mlops_assets.spec import ProjectSpec
from mlops_assets.ui_metadata import picture


def feasibility(spec: ProjectSpec, found: Evaluation, holdout: pd.DataFrame, labelled: LabelledRows) -> dict[str, Any]:
    """Return the losses of the quick model and the baseline, the rows behind them, and a chart of the hold-out."""
    chart = predictions_against_labels(holdout, title=f"{spec.name}: a quick model on the hold-out")
    return {
        f"model {spec.problem.metric} as loss": found.candidate_loss,
        f"baseline {spec.problem.metric} as loss": found.baseline_loss,
        "gain over baseline": found.gain,
        "hold-out rows": found.rows,
        "labelled rows": len(labelled.rows),
        "rows left out (bad values)": labelled.dropped,
        "forced": found.forced,
        "predictions and labels": picture(chart, "predictions of a quick model and labels"),
    }
