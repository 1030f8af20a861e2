"""A small hourly project, and rows as its source returns them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.source.project_source import ProjectSource
from mlops_assets.spec import ProjectSpec

Read = Callable[..., Any]
MakeSource = Callable[..., ProjectSource]

COLUMNS: dict[str, Any] = {
    "x": {"dtype": "float", "ge": 0, "le": 100},
    "day": {"dtype": "int", "ge": 0, "le": 6},
    "y": {"dtype": "float", "ge": 0},
}


def small_spec(**parts: Any) -> ProjectSpec:
    """Return an hourly project with windows of a day and a horizon of 6 h; keywords are merged into its parts."""
    given: dict[str, Any] = {
        "name": "small",
        "problem": {
            "statement": "Something worth knowing.",
            "task": "regression",
            "target": "y",
            "metric": "mae",
            "baseline": {"type": "seasonal_naive", "season": "168h"},
            "validation": {"holdout": "14d"},
        },
        "data": {
            "source": "planted_source.read",
            "time": "when",
            "every": "1h",
            "start": "2011-01-01",
            "window": "day",
            "horizon": "6h",
            "drop": ["secret"],
            "columns": COLUMNS,
        },
        "labels": {"delay": "0h"},
        "features": {"known": ["x", "day"], "history": {"columns": ["y"], "length": "24h"}},
        "serving": {"every": "1h"},
        "retraining": {"when": {"type": "age", "max": "90d"}, "cooldown": "60d"},
    }
    for name, part in parts.items():
        given[name] = given.get(name, {}) | part
    return ProjectSpec.model_validate(given)


def hourly(start: datetime, end: datetime, **columns: Any) -> pd.DataFrame:
    """Return valid rows of a source: one per hour with an aware time, where y is the number of hours since 2011."""
    when = pd.date_range(pd.Timestamp(start).ceil("h"), end, freq="h", inclusive="left")
    y = ((when - pd.Timestamp("2011-01-01", tz="UTC")) // pd.Timedelta("1h")).to_numpy(dtype=np.float64)
    return pd.DataFrame({"when": when, "x": 50.0, "day": when.dayofweek, "y": y, "secret": 1.0}).assign(**columns)
