"""The business assets' metadata: numbers and a picture for the UI."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mlops_assets.charts.predictions import predictions_against_labels
from mlops_assets.evaluation.evaluator import Evaluation
from mlops_assets.spec import ProjectSpec
from mlops_assets.ui_metadata import picture


def feasibility(spec: ProjectSpec, found: Evaluation, holdout: pd.DataFrame) -> dict[str, Any]:
    """What the quick model and the baseline lost, and both against the truth."""
    forecast = predictions_against_labels(holdout, title=f"{spec.name}: a quick model on the hold-out")
    return {
        f"model {spec.problem.metric} as loss": found.candidate_loss,
        f"baseline {spec.problem.metric} as loss": found.baseline_loss,
        "gain over baseline": found.gain,
        "unseen rows": found.rows,
        "forced": found.forced,
        "forecast": picture(forecast, "a quick model against the truth"),
    }
