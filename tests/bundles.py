"""Small trained model versions for tests: tsfresh features, a GBM fitted by H2O, and its MOJO in a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.modeling.automl import Recipe, fit, genmodel_jar
from mlops_assets.prediction.bundle import ModelLineage
from mlops_assets.prediction.bundle_writer import write_bundle
from mlops_assets.prediction.features import FeatureDefinitions, compute, to_frame
from mlops_assets.prediction.inputs import Inputs, cut_inputs, to_records
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.resources.compute.h2o import h2o_cluster
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline

DAYS = 40
FIRST_EVENT = 72
"""Rows before it have too few past values."""
SUFFIXES = ["mean", "maximum", "standard_deviation", "quantile__q_0.1", "cid_ce__normalize_True"]
PROBLEM = {"statement": "Something worth knowing.", "validation": {"holdout": "14d"}}
LOOP = {
    "serving": {"every": "1h"},
    "monitoring": {"min_rows": 10},
    "retraining": {"when": {"type": "age", "max": "90d"}, "cooldown": "28d"},
}


def rentals_spec(**changes: Any) -> ProjectSpec:
    """Return a project with one series of hourly counts, a horizon of a day, and known columns of every type."""
    columns = {
        "temp": {"dtype": "float", "nullable": True},
        "hour": {"dtype": "int"},
        "holiday": {"dtype": "bool"},
        "sky": {"dtype": "category", "nullable": True},
        "cnt": {"dtype": "float"},
    }
    given: dict[str, Any] = {
        "name": "rentals",
        "clock": {"type": "replay", "start": "2011-02-01"},
        "problem": {
            **PROBLEM,
            "task": "regression",
            "target": "cnt",
            "metric": "mae",
            "baseline": {"type": "seasonal_naive", "season": "168h"},
        },
        "data": {
            "source": "a.read",
            "every": "1h",
            "start": "2011-01-01",
            "window": "day",
            "horizon": "24h",
            "columns": columns,
        },
        "features": {
            "known": ["temp", "hour", "holiday", "sky"],
            "history": {"columns": ["cnt"], "length": "24h"},
        },
        **LOOP,
    }
    return ProjectSpec.model_validate(given | changes)


def prices_spec() -> ProjectSpec:
    """Return a project that classifies several series as UP or DOWN, without horizon and past values."""
    return ProjectSpec.model_validate(
        {
            "name": "prices",
            "problem": {
                **PROBLEM,
                "task": "classification",
                "target": "move",
                "metric": "accuracy",
                "baseline": {"type": "majority"},
            },
            "data": {
                "source": "a.read",
                "entity": "region",
                "every": "1h",
                "start": "2011-01-01",
                "window": "day",
                "columns": {
                    "load": {"dtype": "float"},
                    "peak": {"dtype": "bool"},
                    "move": {"dtype": "category", "isin": ["UP", "DOWN"]},
                },
            },
            "features": {"known": ["load", "peak"]},
            **LOOP,
        }
    )


def rows_of(spec: ProjectSpec) -> pd.DataFrame:
    """Return seeded rows of 40 days: known columns, and a target that depends on them."""
    random = np.random.default_rng(7)
    names: Sequence[str | None] = ["north", "south"] if spec.data.entity else [None]
    times = pd.date_range(spec.data.start, periods=DAYS * 24, freq="h", tz="UTC", unit="ns")
    frames = []
    for name in names:
        hour = times.hour.to_numpy()
        values = {
            "temp": random.random(len(times)),
            "hour": hour,
            "holiday": random.random(len(times)) < 0.1,
            "sky": random.choice(np.array(["clear", "rain"], dtype=object), len(times)),
            "load": random.random(len(times)),
            "peak": (hour > 7) & (hour < 20),
        }
        frame = pd.DataFrame({"event_time": times, **({"entity": name} if name else {})})
        for column in spec.features.known:
            frame[column] = values[column]
        if spec.problem.task == "regression":
            frame["cnt"] = np.round(
                50 + 40 * np.sin(hour / 24 * 2 * np.pi) + 30 * values["temp"] + random.random(len(times)), 3
            )
        else:
            frame["move"] = np.where(
                values["load"] + 0.3 * values["peak"] + 0.2 * random.random(len(times)) > 0.8, "UP", "DOWN"
            )
        frames.append(frame)
    return pd.concat(frames).sort_values(["event_time", *(["entity"] if spec.data.entity else [])], ignore_index=True)


@dataclass(frozen=True)
class Version:
    """A bundle on disk, and inputs to request predictions for."""

    spec: ProjectSpec
    folder: Path
    as_of: datetime
    schema: InputSchema
    inputs: Inputs
    """Inputs of events that are due at or after `as_of`."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """The inputs as rows of a request."""
        return to_records(self.inputs, self.schema)


def make_versions(spec: ProjectSpec, folder: Path, trees: Mapping[int, int], as_of_day: int = 30) -> dict[int, Version]:
    """Train versions that differ in their number of trees. An H2O cluster must be running.

    Args:
        spec: the project.
        folder: gets a bundle per version.
        trees: number of trees by version.
        as_of_day: how many days of rows are known at the time of training.
    """
    timeline, rows = Timeline(spec), rows_of(spec)
    as_of = timeline.start + timedelta(days=as_of_day)
    schema = InputSchema.of(spec)
    if schema.entity:
        schema = schema.model_copy(update={"entities": sorted(set(rows["entity"]))})
    events = rows[rows["event_time"] >= timeline.start + timedelta(hours=FIRST_EVENT)].reset_index(drop=True)
    inputs = cut_inputs(timeline, schema, events, rows)
    before = (events["event_time"] < as_of).to_numpy()
    definitions = FeatureDefinitions(
        known=list(schema.known), calculators=dict.fromkeys(schema.history, SUFFIXES)
    ).with_levels(inputs.take(before))
    frame = to_frame(definitions, compute(definitions, inputs.take(before)))
    target = events.loc[before, spec.problem.target].reset_index(drop=True)
    frame[spec.problem.target] = (
        pd.Categorical(target, categories=spec.classes) if spec.classes else target.astype(float)
    )
    due = np.array([timeline.due(time.to_pydatetime()) >= as_of for time in events["event_time"]])
    versions = {}
    for version, count in trees.items():
        recipe = Recipe(
            algorithm="GBM",
            parameters={"ntrees": count, "max_depth": 3, "min_rows": 5},
            seed=1,
            columns=definitions.names,
            target=spec.problem.target,
            task=spec.problem.task,
        )
        fitted = fit(recipe, frame, project=spec.name)
        bundle = folder / f"{spec.name}-{version}"
        write_bundle(
            bundle,
            ModelLineage(
                as_of=as_of,
                trained_through=as_of,
                dataset=f"{version:032x}",
                dataset_tag=f"dataset-{version}",
                code_version="test",
                training=f"test:{version}",
                decision=None,
                holdout_loss=1.0,
            ),
            schema,
            definitions,
            recipe.model_dump(),
            fitted.download(folder / f"{spec.name}-{version}-mojo"),
            genmodel_jar(folder, project="test"),
            frame.tail(50).assign(event_time=datetime(2011, 1, 30, tzinfo=UTC)),
            inputs.take(before),
        )
        versions[version] = Version(
            spec,
            bundle,
            as_of,
            schema,
            inputs.take(due),
        )
    return versions


Versions = dict[str, dict[int, Version]]
"""Trained versions by project and number."""


def train_all(folder: Path) -> Versions:
    """Train the versions that tests serve: three of `rentals` with different numbers of trees, one of `prices`."""
    with h2o_cluster(folder / "h2o", "test", "400m", xgboost=False):
        return {
            "rentals": make_versions(rentals_spec(), folder, {1: 5, 2: 9, 3: 12}),
            "prices": make_versions(prices_spec(), folder, {1: 5}),
        }
