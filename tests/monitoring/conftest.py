from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlops_assets.spec import ProjectSpec

MakeSpec = Callable[..., ProjectSpec]


@pytest.fixture
def make_spec() -> MakeSpec:
    """Return a function that builds a small hourly project with windows of a day and a horizon of a day."""

    def make(task: str = "regression", **parts: Any) -> ProjectSpec:
        classes = {"dtype": "category", "isin": ["UP", "DOWN"]}
        problem = {
            "statement": "Something worth knowing.",
            "task": task,
            "target": "y",
            "metric": "mae" if task == "regression" else "accuracy",
            "baseline": {"type": "seasonal_naive", "season": "168h"},
            "validation": {"holdout": "14d"},
        }
        data = {
            "source": "a.read",
            "every": "1h",
            "start": "2011-01-01",
            "window": "day",
            "horizon": "24h",
            "columns": {"y": {"dtype": "float"} if task == "regression" else classes, "x": {"dtype": "float"}},
        }
        given = {
            "name": "small",
            "problem": problem | parts.pop("problem", {}),
            "data": data | parts.pop("data", {}),
            "features": {"known": ["x"]},
            "serving": {"every": "1h"},
            "monitoring": {"min_rows": 10},
            "retraining": {"when": {"type": "age", "max": "90d"}, "cooldown": "28d"},
        }
        return ProjectSpec.model_validate(given | parts)

    return make
