"""Small seeded simulated projects: hourly series whose rule is known, so that the right behaviour of the loop is known.

The target is `10 + 5 swing + 3 x + noise`. `swing` follows the time of day, and `x` is drawn anew each hour. A
planted break changes the sign of the effect of `x` and shifts `x` itself, so that both the errors and the predictions
of a model that learned the old rule change.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from mlops_assets import projects
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.imports import import_function

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC)
CLOCK = START + 16 * DAY
"""Where the clocks of the projects begin. Windows are counted from here."""
LENGTH = 80
"""Length of the series, in days."""
FORK = 10
"""Number of windows after which the two continuations of the project `seeded` differ."""

Edit = Callable[[pd.DataFrame], pd.DataFrame]
EDITS: dict[str, list[Edit]] = {}
"""Edits that `read` makes to its rows, by the name of the project. Tests add and remove them."""
COLLECTED: list[tuple[str, dict[str, Any]]] = []
"""Arguments of the calls of `collect`."""


def read(
    start: datetime,
    end: datetime,
    *,
    project: str,
    seed: int = 1,
    break_at: str | None = None,
    noise_from: str | None = None,
    entities: list[str] | None = None,
    newcomers: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Return the rows of a project with start <= timestamp < end.

    Args:
        start: aware time.
        end: aware time, not included.
        project: the project's name, for `EDITS`.
        seed: seed of the random numbers.
        break_at: when the rule changes.
        noise_from: time from which rows hold noise alone.
        entities: names of several series. The level of each is 100 above that of the one before.
        newcomers: when series begin that do not begin at `START`, by name.
    """
    parts = [_series(seed, number, name, break_at, noise_from) for number, name in enumerate(entities or [""])]
    rows = pd.concat(parts, ignore_index=True).sort_values(["timestamp", "place"], kind="stable")
    rows = rows[(rows["timestamp"] >= pd.Timestamp(start)) & (rows["timestamp"] < pd.Timestamp(end))]
    for name, begin in (newcomers or {}).items():
        rows = rows[(rows["place"] != name) | (rows["timestamp"] >= pd.Timestamp(begin))]
    rows = rows.reset_index(drop=True) if entities else rows.drop(columns="place").reset_index(drop=True)
    for edit in EDITS.get(project, []):
        rows = edit(rows)
    return rows


def _series(seed: int, number: int, name: str, break_at: str | None, noise_from: str | None) -> pd.DataFrame:
    times = pd.date_range(START, periods=24 * LENGTH, freq="h", tz="UTC")
    draw = np.random.default_rng([seed, number])
    x, noise = draw.normal(size=len(times)), draw.normal(scale=0.5, size=len(times))
    swing = np.sin(2 * np.pi * times.hour.to_numpy() / 24)
    slope = np.full(len(times), 3.0)
    if break_at is not None:
        broken = times >= pd.Timestamp(break_at)
        x, slope = np.where(broken, x + 2, x), np.where(broken, -3.0, slope)
    y = 10 + 100 * number + 5 * swing + slope * x + noise
    rows = pd.DataFrame({"timestamp": times, "place": name, "x": x, "swing": swing, "y": y})
    if noise_from is not None:
        later = times >= pd.Timestamp(noise_from)
        rows.loc[later, ["x", "swing", "y"]] = draw.normal(scale=50, size=(int(later.sum()), 3))
    return rows


def collect(project: str, decision: dict[str, Any]) -> str:
    """Record the call. Projects name this function as `data.collect`."""
    COLLECTED.append((project, decision))
    return f"requested rows because of {decision['id']}"


def at(window: float) -> datetime:
    """Return the start of a window, counted from `CLOCK`."""
    return CLOCK + window * DAY


def changed(when: datetime, **values: float | None) -> Edit:
    """Return an edit that puts other values into the row of an hour; None is a missing value."""

    def edit(rows: pd.DataFrame) -> pd.DataFrame:
        for name, value in values.items():
            rows.loc[rows["timestamp"] == pd.Timestamp(when), name] = np.nan if value is None else value
        return rows

    return edit


def without(*hours: datetime) -> Edit:
    """Return an edit that removes the rows of some hours."""

    def edit(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[~rows["timestamp"].isin([pd.Timestamp(hour) for hour in hours])].reset_index(drop=True)

    return edit


BOTH_SIGNALS = {
    "type": "all",
    "of": [
        {"type": "performance", "ratio": 1.5, "first": 2, "last": 2},
        {"type": "drift", "signal": "prediction", "statistic": "wasserstein", "threshold": 0.5, "for": 5},
    ],
}
"""A condition on both signals. After five drifted windows a candidate has enough rows under the new rule."""


def simulated_project(name: str, options: dict[str, Any] | None = None, **parts: dict[str, Any]) -> ProjectSpec:
    """Return the spec of a simulated project.

    Args:
        name: name of the project.
        options: arguments of `read`.
        parts: sections of the spec, each merged over the usual one.
    """
    usual: dict[str, dict[str, Any]] = {
        "clock": {"type": "replay", "start": CLOCK.date()},
        "problem": {
            "statement": "The next hour of a simulated series, for tests.",
            "task": "regression",
            "target": "y",
            "metric": "mae",
            "baseline": {"type": "seasonal_naive", "season": "24h"},
            "validation": {"strategy": "last", "holdout": "2d"},
        },
        "data": {
            "source": "simulated_projects.read",
            "every": "1h",
            "start": START.date(),
            "end": (START + LENGTH * DAY).date(),
            "window": "day",
            "horizon": "1h",
            "training_window": "6d",
            "columns": {
                "x": {"dtype": "float", "ge": -100, "le": 100},
                "swing": {"dtype": "float"},
                "y": {"dtype": "float", "ge": -1000, "le": 1000},
            },
            "options": {"project": name, **(options or {})},
        },
        "labels": {},
        "features": {
            "known": ["x", "swing"],
            "history": {"columns": ["y"], "length": "24h"},
            "calculators": "minimal",
            "select": {"sample": 60},
        },
        "training": {"max_models": 1, "algorithms": ["GLM"], "memory": "256m"},
        "promotion": {"min_rows": 40},
        "serving": {"every": "1h"},
        # two days against six differ by up to 0.4 of a standard deviation where nothing has changed
        "monitoring": {
            "reference": "6d",
            "current": "2d",
            "min_rows": 20,
            "sample": 200,
            "drift": {"threshold": 0.5},
        },
        "retraining": {"when": BOTH_SIGNALS, "cooldown": "4d", "min_new_rows": 48, "warm_up": "2d"},
    }
    unknown = set(parts) - set(usual)
    if unknown:
        raise ValueError(f"a spec has no {sorted(unknown)}")
    merged = {section: {**values, **parts.get(section, {})} for section, values in usual.items()}
    return ProjectSpec.model_validate({"name": name, **merged})


def quiet(**policy: Any) -> dict[str, Any]:
    """Return a `retraining` section whose condition is never in breach."""
    return {"when": {"type": "age", "max": "1000d"}, "cooldown": "4d", "min_new_rows": 48, **policy}


def noisy(start: datetime, end: datetime, *, project: str, after: str) -> pd.DataFrame:
    """Return the rows of a shipped project, with noise that its schema accepts from a local time on.

    Args:
        start: aware time.
        end: aware time, not included.
        project: name of the shipped project.
        after: naive local time from which rows are noise.
    """
    data = shipped(project)["data"]
    rows = import_function(project, "data.source", data["source"])(start, end)
    later = (rows[data["time"]] >= pd.Timestamp(after)).to_numpy()
    for name in rows.columns.drop(data["time"]):
        # a hash of time and name, so that a row has the same noise each time it is read
        keys = rows.loc[later, data["time"]].astype("int64").astype(str) + name
        share = pd.util.hash_array(keys.to_numpy(dtype=object)) / 2.0**64
        values = [*rows.loc[~later, name].tolist(), *_drawn(data["columns"].get(name, {}), share)]
        rows[name] = values
    return rows


def _drawn(column: dict[str, Any], share: np.ndarray[Any, np.dtype[np.float64]]) -> list[Any]:
    """Return values that a column may hold, one for each number in [0, 1)."""
    if "isin" in column:
        return [column["isin"][int(number * len(column["isin"]))] for number in share]
    low, high = column.get("ge", 0), column.get("le", 1000)
    if column.get("dtype") == "int":
        return [int(low + number * (high - low + 1)) for number in share]
    return [float(low + number * (high - low)) for number in share]


def shipped(project: str) -> dict[str, Any]:
    """Return the attributes of a shipped project, with few features and one small model so that it is fast."""
    path = Path(projects.__file__).parent / project / "defs.yaml"
    raw: dict[str, Any] = yaml.safe_load(path.read_text())["attributes"]
    raw["features"]["calculators"] = "minimal"
    raw["training"] = {"max_models": 1, "algorithms": ["GLM"], "memory": "400m"}
    raw["monitoring"]["sample"] = 200
    raw["retraining"]["when"] = {"type": "age", "max": "14d"}
    return raw
