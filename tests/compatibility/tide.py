"""The simulated project whose state release 0.1.0 stored in `fixtures/state_0.1.0.tar.xz`, as it was then."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

START = datetime(2020, 1, 1, tzinfo=UTC)
TRAINED = START + timedelta(days=20)
DAYS = 120

ATTRIBUTES: dict[str, Any] = {
    "name": "tide",
    "owners": ["team:harbour"],
    "clock": {"type": "replay", "start": "2020-01-21"},
    "problem": {
        "statement": "The level of the sea, six hours ahead, so that the lock can be set.",
        "task": "regression",
        "target": "level",
        "metric": "mae",
        "baseline": {"type": "seasonal_naive", "season": "24h"},
        "validation": {"strategy": "last", "holdout": "2d"},
    },
    "data": {
        "source": "tide.read",
        "every": "1h",
        "start": "2020-01-01",
        "window": "day",
        "horizon": "6h",
        "training_window": "8d",
        "columns": {
            "hour": {"dtype": "int", "ge": 0, "le": 23},
            "wind": {"dtype": "float", "ge": -1, "le": 1},
            "level": {"dtype": "float"},
        },
    },
    "features": {
        "known": ["hour", "wind"],
        "history": {"columns": ["level"], "length": "24h"},
        "calculators": "minimal",
        "select": {"sample": 60, "most": 4},
    },
    "training": {"max_models": 1, "algorithms": ["GLM"], "memory": "400m"},
    "promotion": {"margin": 0.02, "min_rows": 24},
    "serving": {"every": "6h"},
    "monitoring": {"reference": "8d", "current": "4d", "min_rows": 10},
    "retraining": {
        "when": {"type": "performance", "ratio": 1.3, "against": "holdout", "last": 1},
        "cooldown": "4d",
        "min_new_rows": 24,
        "warm_up": "6d",
        "attempts": 2,
        "pause": "1ms",
    },
}


def read(start: datetime, end: datetime) -> pd.DataFrame:
    """Return the rows with start <= timestamp < end. The effect of `wind` changes its sign at `TRAINED`."""
    random = np.random.default_rng(5)
    times = pd.date_range(START, periods=DAYS * 24, freq="h")
    wind, noise = random.uniform(-1, 1, len(times)), random.normal(0, 1, len(times))
    sign = np.where(times >= TRAINED, -1.0, 1.0)
    level = 100 + 30 * np.sin(times.hour.to_numpy() / 24 * 2 * np.pi) + 20 * sign * wind + noise
    frame = pd.DataFrame({"timestamp": times, "hour": times.hour, "wind": wind, "level": level})
    return frame[(frame["timestamp"] >= start) & (frame["timestamp"] < end)].reset_index(drop=True)
