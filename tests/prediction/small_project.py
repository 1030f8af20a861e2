"""A small project with every type of column, its rows, and windows of real data."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mlops_assets.projects.bike_demand as bike_demand
from mlops_assets.spec import ProjectSpec


def project(**changes: Any) -> ProjectSpec:
    """Return an hourly project with a horizon of a day and every type of known column; keywords replace whole parts."""
    given: dict[str, Any] = {
        "name": "rentals",
        "problem": {
            "statement": "Something worth knowing.",
            "task": "regression",
            "target": "cnt",
            "metric": "mae",
            "baseline": {"type": "seasonal_naive", "season": "168h"},
            "validation": {"holdout": "14d"},
        },
        "data": {
            "source": "a.read",
            "every": "1h",
            "start": "2011-01-01",
            "window": "day",
            "horizon": "24h",
            "columns": {
                "temp": {"dtype": "float"},
                "hum": {"dtype": "float", "nullable": True},
                "hour": {"dtype": "int"},
                "holiday": {"dtype": "bool"},
                "sky": {"dtype": "category", "nullable": True},
                "cnt": {"dtype": "int"},
            },
        },
        "features": {
            "known": ["temp", "hum", "hour", "holiday", "sky"],
            "history": {"columns": ["cnt"], "length": "24h"},
        },
        "serving": {"every": "1h"},
        "retraining": {"when": {"type": "age", "max": "90d"}, "cooldown": "40d"},
    }
    return ProjectSpec.model_validate(given | changes)


def rows(hours: int, start: str = "2011-01-01") -> pd.DataFrame:
    """Return seeded hourly rows of `project`. `cnt` is the row's number, so that a past value names its row."""
    random = np.random.default_rng(3)
    times = pd.date_range(start, periods=hours, freq="h", tz="UTC").as_unit("ns")
    return pd.DataFrame(
        {
            "event_time": times,
            "temp": random.random(hours),
            "hum": np.where(random.random(hours) < 0.1, np.nan, random.random(hours)),
            "hour": times.hour.to_numpy(),
            "holiday": random.random(hours) < 0.1,
            "sky": random.choice(np.array(["clear", "rain", None], dtype=object), hours),
            "cnt": np.arange(hours),
        }
    )


@cache
def bike_windows(count: int, steps: int = 168) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return windows of the bike data, (count, steps), spread over its two years."""
    series = pd.read_csv(Path(bike_demand.__file__).parent / "bike_hour.csv.xz")["cnt"].to_numpy(dtype=np.float64)
    starts = np.linspace(0, len(series) - steps, count).astype(np.int64)
    return np.array([series[start : start + steps] for start in starts])
