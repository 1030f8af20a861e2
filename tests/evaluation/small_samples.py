"""A small project, and seeded labels with predictions for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.evaluation.metrics import Predicted
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.problem import REGRESSION_METRICS

START = datetime(2011, 1, 1, tzinfo=UTC)
CLASSES = ["UP", "DOWN"]


def project(task: str = "regression", **changes: Any) -> ProjectSpec:
    target: dict[str, Any] = {"dtype": "float"} if task == "regression" else {"dtype": "category", "isin": CLASSES}
    data: dict[str, Any] = {"source": "a.read", "every": "1h", "start": "2011-01-01", "window": "day", "horizon": "24h"}
    data["columns"] = {"y": target, "x": {"dtype": "float"}}
    baseline = changes.pop("baseline", {"type": "seasonal_naive", "season": "48h"})
    return ProjectSpec.model_validate(
        {
            "name": "small",
            "problem": {
                "statement": "Something worth knowing.",
                "task": task,
                "target": "y",
                "metric": changes.pop("metric", "mae" if task == "regression" else "accuracy"),
                "baseline": baseline,
                "validation": {"holdout": "14d"},
            },
            "data": data | changes.pop("data", {}),
            "labels": changes.pop("labels", {}),
            "features": {"known": ["x"]},
            "serving": {"every": "1h"},
            "retraining": {"when": {"type": "age", "max": "90d"}, "cooldown": "28d"},
        }
    )


def frame(values: list[Any], start: datetime = START, entity: str | None = None) -> pd.DataFrame:
    times = pd.date_range(start, periods=len(values), freq="1h").astype("datetime64[ns, UTC]")
    made = pd.DataFrame({"event_time": times, "y": values})
    return made if entity is None else made.assign(entity=entity)


def labels_and_predictions(task: str, rows: int = 60, seed: int = 0) -> tuple[np.ndarray, Predicted, list[str] | None]:
    rng = np.random.default_rng(seed)
    if task == "regression":
        labels = rng.gamma(2, 50, rows)
        return labels, Predicted(labels + rng.normal(0, 10, rows)), None
    share = rng.dirichlet([1, 1], rows)
    names = np.array(CLASSES, dtype=object)
    return names[rng.integers(0, 2, rows)], Predicted(names[share.argmax(axis=1)], share), CLASSES


def task_of(metric: str) -> str:
    return "regression" if metric in REGRESSION_METRICS else "classification"
