"""The example project of the tests: a small hourly series, with fast training.

The target `level` follows the hour and `wind`. The effect of `wind` changes its sign when the first model begins to
serve, as of day 20, so that the loss is in breach from the first live window on. The warm-up ends on day 26. Then the
policy decides RETRAIN, and the version that is trained then is far better than the champion. Windows are days, the
horizon is 6 h.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from harness import Harness

from mlops_assets.ledger.facts import PromotionStep, VersionTrained
from mlops_assets.loop.outstanding import Retrain, outstanding
from mlops_assets.spec import ProjectSpec

START = datetime(2020, 1, 1, tzinfo=UTC)
TRAINED = START + timedelta(days=20)
RETRAIN_AT = START + timedelta(days=26)
"""When the policy decides RETRAIN."""
MISSING_WIND_AT = RETRAIN_AT + timedelta(hours=9)
"""The hour whose value of `wind` is missing with the option `pressure`."""
DAYS = 120
RUN = "5eed0000-0000-4000-8000-000000000001"
"""The Dagster run whose training is prepared in the state `evaluated`."""

ATTRIBUTES: dict[str, Any] = {
    "name": "example",
    "owners": ["team:example"],
    "clock": {"type": "replay", "start": TRAINED.date().isoformat()},
    "problem": {
        "statement": "The water level in a canal, six hours ahead, so that its lock can be set.",
        "task": "regression",
        "target": "level",
        "metric": "mae",
        "baseline": {"type": "seasonal_naive", "season": "24h"},
        "validation": {"strategy": "last", "holdout": "2d"},
    },
    "data": {
        "source": "example_project.read",
        "every": "1h",
        "start": START.date().isoformat(),
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


def read(
    start: datetime, end: datetime, only_noise: bool = False, pressure: bool = False, without_wind: bool = False
) -> pd.DataFrame:
    """Return the rows with start <= timestamp < end.

    Args:
        start: aware time.
        end: aware time, not included.
        only_noise: `level` is noise, which no model can predict.
        pressure: there is another column, `pressure`, and `wind` is missing at `MISSING_WIND_AT`.
        without_wind: there is no column `wind`.
    """
    random = np.random.default_rng(5)
    times = pd.date_range(START, periods=DAYS * 24, freq="h")
    wind, noise = random.uniform(-1, 1, len(times)), random.normal(0, 1, len(times))
    sign = np.where(times >= TRAINED, -1.0, 1.0)
    level = 100 + 30 * np.sin(times.hour.to_numpy() / 24 * 2 * np.pi) + 20 * sign * wind + noise
    if only_noise:
        level = 100 + 30 * noise
    frame = pd.DataFrame({"timestamp": times, "hour": times.hour, "wind": wind, "level": level})
    if pressure:
        frame["pressure"] = np.arange(len(times)) % 709 / 709
        frame.loc[times == MISSING_WIND_AT, "wind"] = np.nan
    if without_wind:
        frame = frame.drop(columns="wind")
    return frame[(frame["timestamp"] >= start) & (frame["timestamp"] < end)].reset_index(drop=True)


def example_project(**parts: Any) -> ProjectSpec:
    """Return the spec of the project; keywords are merged into its parts."""
    given = dict(ATTRIBUTES)
    for name, part in parts.items():
        given[name] = given[name] | part if isinstance(part, dict) and name in given else part
    return ProjectSpec.model_validate(given)


@contextmanager
def running_harness(home: Path, *, serving: bool = True, **parts: Any) -> Iterator[Harness]:
    """Yield a harness on a state folder. The service is started if there is a champion, unless `serving` is false."""
    with Harness.on(example_project(**parts), home) as harness:
        if serving and harness.context.ledger_view().deployment_period is not None:
            harness.context.endpoint.ensure_running()
        yield harness


def bootstrapped(home: Path) -> None:
    """Bring the project to the state in which version 1 serves, as of day 20."""
    with running_harness(home) as harness:
        succeeded(harness.bootstrap())


def retrain_decided(home: Path) -> None:
    """Play six more days, until the policy decides RETRAIN. No run has been launched for the decision."""
    with running_harness(home) as harness:
        while harness.context.now() < RETRAIN_AT:
            harness.context.clock.move(harness.context.now() + timedelta(days=1))
            run_until_only_retraining_is_left(harness)


def evaluated(home: Path) -> None:
    """Train and evaluate version 2 in the run `RUN`, which has not reached the gate."""
    with running_harness(home) as harness:
        succeeded(retrain(harness, ["dataset", "feature_definitions", "training_set", "candidate_model", "evaluation"]))


STATES: dict[str, tuple[str | None, Callable[[Path], None]]] = {
    "bootstrapped": (None, bootstrapped),
    "retrain_decided": ("bootstrapped", retrain_decided),
    "evaluated": ("retrain_decided", evaluated),
}
"""By name of a state: the state that it starts from, and the function that brings the project into it."""

VERSION_1 = VersionTrained(
    at=TRAINED,
    version=1,
    training="t",
    decision=None,
    as_of=TRAINED,
    trained_through=TRAINED,
    dataset="d",
    dataset_tag="dt",
    mlflow_run="m",
    digest="dg",
    columns=["hour", "wind", "level"],
    holdout_loss=1.25,
    metric="mae",
    reference_rows=1,
    rows=100,
)
"""A trained version, for tests that write facts and train nothing. Its hold-out loss is a MAE."""
PROMOTED = PromotionStep(at=TRAINED, promotion="p", step="PROMOTED", version=1, previous=None, cause="bootstrap")


class States:
    """State folders that are made once for all tests and copied for each."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def made(self, name: str) -> Path:
        """Return the folder of a state, which tests must not write to."""
        folder, done = self.root / name, self.root / f"{name}.done"
        before, make = STATES[name]
        if before is not None:
            self.made(before)
        if not done.exists():
            if before is not None:
                shutil.copytree(self.root / before, folder)
            else:
                folder.mkdir()
            make(folder)
            done.touch()
        return folder

    def copy(self, name: str, to: Path) -> Path:
        """Return a copy of a state, which a test may change."""
        return Path(shutil.copytree(self.made(name), to, ignore=shutil.ignore_patterns("*.lock")))


def succeeded(result: dg.ExecuteInProcessResult) -> dg.ExecuteInProcessResult:
    """Return the result of a run that must succeed; the test fails with the run's errors if it did not."""
    assert result.success, failures(result)
    return result


def failures(result: dg.ExecuteInProcessResult) -> str:
    """Return the errors of a run's failed steps, with their causes."""
    found = []
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None:
                found.append(f"{event.step_key}: {error.message}")
                error = error.cause
    return "\n".join(found)


def retrain(harness: Harness, assets: list[str] | None = None, **more: Any) -> dg.ExecuteInProcessResult:
    """Run the retraining for the open RETRAIN decision, or some of its assets, as the run `RUN`."""
    decision = harness.context.ledger_view().open_retrain
    tags = {"decision": decision.id} if decision is not None else {}
    keys = None if assets is None else [harness.blueprint.key(name) for name in assets]
    return harness.run("retrain", run_id=RUN, tags=tags, asset_selection=keys, **more)


def run_until_only_retraining_is_left(harness: Harness) -> None:
    """Do all outstanding work but a retraining."""
    for _ in range(50):
        work = outstanding(harness.context.timeline, harness.context.ledger_view(), harness.context.now())
        if all(isinstance(item, Retrain) for item in work):
            return
        request = harness.tick(work[0].sensor)
        assert isinstance(request, dg.RunRequest), request
        result = harness.carry_out(request)
        assert result is not None
        succeeded(result)
    pytest.fail("the loop does not become idle")


def by_hand(harness: Harness, *assets: str, **more: Any) -> dg.ExecuteInProcessResult:
    """Materialize assets as a person does in the UI, through Dagster's implicit job."""
    job = harness.definitions.resolve_implicit_global_asset_job_def()
    keys = [harness.blueprint.key(name) for name in assets]
    result = job.execute_in_process(
        instance=harness.instance, raise_on_error=False, asset_selection=keys, resources=None, **more
    )
    harness.close_runs()
    return result
