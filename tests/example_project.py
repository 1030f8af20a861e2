"""A small fast world: the level of the sea, hourly; the wind turns its sign when the first model begins to serve.

Windows of a day, answers 6 h ahead. Trained as of day 20; the loss is in breach from the first live window on, the
warm-up ends on day 26: then the policy says RETRAIN, and what is trained then is far better than what serves.
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
ASKED = START + timedelta(days=26)
"""When the policy says RETRAIN."""
LULL = ASKED + timedelta(hours=9)
DAYS = 120
RUN = "5eed0000-0000-4000-8000-000000000001"
"""The Dagster run whose training is prepared in `JUDGED_STATE`."""

ATTRIBUTES: dict[str, Any] = {
    "name": "tide",
    "owners": ["team:harbour"],
    "clock": {"type": "replay", "start": TRAINED.date().isoformat()},
    "problem": {
        "statement": "The level of the sea, six hours ahead, so that the lock can be set.",
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


def read(start: datetime, end: datetime, lost: bool = False, moon: bool = False, calm: bool = False) -> pd.DataFrame:
    """Rows of the sea.

    Args:
        start: aware time.
        end: aware time, not included.
        lost: the level is noise that nobody can foretell.
        moon: there is a column more, and the wind of the hour `LULL` is missing.
        calm: nobody measures the wind any more.
    """
    random = np.random.default_rng(5)
    times = pd.date_range(START, periods=DAYS * 24, freq="h")
    wind, noise = random.uniform(-1, 1, len(times)), random.normal(0, 1, len(times))
    turned = np.where(times >= TRAINED, -1.0, 1.0)
    level = 100 + 30 * np.sin(times.hour.to_numpy() / 24 * 2 * np.pi) + 20 * turned * wind + noise
    if lost:
        level = 100 + 30 * noise
    frame = pd.DataFrame({"timestamp": times, "hour": times.hour, "wind": wind, "level": level})
    if moon:
        frame["moon"] = np.arange(len(times)) % 709 / 709
        frame.loc[times == LULL, "wind"] = np.nan
    if calm:
        frame = frame.drop(columns="wind")
    return frame[(frame["timestamp"] >= start) & (frame["timestamp"] < end)].reset_index(drop=True)


def example_project(**parts: Any) -> ProjectSpec:
    """The project; keywords are merged into whole parts."""
    given = dict(ATTRIBUTES)
    for name, part in parts.items():
        given[name] = given[name] | part if isinstance(part, dict) and name in given else part
    return ProjectSpec.model_validate(given)


@contextmanager
def running_harness(home: Path, *, serving: bool = True, **parts: Any) -> Iterator[Harness]:
    """A harness of this world on a state folder; its service runs, if a version deployment periods."""
    with Harness.on(example_project(**parts), home) as harness:
        if serving and harness.context.ledger_view().deployment_period is not None:
            harness.context.endpoint.ensure_running()
        yield harness


def bootstrapped(home: Path) -> None:
    """Version 1 serves, as of day 20."""
    with running_harness(home) as harness:
        succeeded(harness.bootstrap())


def asked(home: Path) -> None:
    """The same six days later: the policy says RETRAIN, and nothing has been launched for it."""
    with running_harness(home) as harness:
        while harness.context.now() < ASKED:
            harness.context.clock.move(harness.context.now() + timedelta(days=1))
            run_until_only_retraining_is_left(harness)


def judged(home: Path) -> None:
    """The same with version 2 trained and evaluated by run `RUN`, which has not come to the gate."""
    with running_harness(home) as harness:
        succeeded(retrain(harness, ["dataset", "feature_definitions", "training_set", "candidate_model", "evaluation"]))


STATES: dict[str, tuple[str | None, Callable[[Path], None]]] = {
    "bootstrapped": (None, bootstrapped),
    "asked": ("bootstrapped", asked),
    "judged": ("asked", judged),
}
"""Each state with the one that it goes on from."""

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
"""As the ledger of a test without any training has it; its hold-out was measured by mae."""
PROMOTED = PromotionStep(at=TRAINED, promotion="p", step="PROMOTED", version=1, previous=None, cause="bootstrap")


class States:
    """State folders that are made once for all tests, and copied for each.

    The artifacts of MLflow are read from where they were made: MLflow keeps absolute addresses.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def made(self, name: str) -> Path:
        """The folder of a state; not to be written to."""
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
        """A state of one's own."""
        return Path(shutil.copytree(self.made(name), to, ignore=shutil.ignore_patterns("*.lock")))


def succeeded(result: dg.ExecuteInProcessResult) -> dg.ExecuteInProcessResult:
    """A run that should have gone well; a test whose world cannot be built fails with the run's own words."""
    assert result.success, failures(result)
    return result


def failures(result: dg.ExecuteInProcessResult) -> str:
    """Why the steps of a run failed."""
    found = []
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None:
                found.append(f"{event.step_key}: {error.message}")
                error = error.cause
    return "\n".join(found)


def retrain(harness: Harness, assets: list[str] | None = None, **more: Any) -> dg.ExecuteInProcessResult:
    """Run the retraining that the policy asked for, or some of its assets, as run `RUN`."""
    decision = harness.context.ledger_view().open_retrain
    tags = {"decision": decision.id} if decision is not None else {}
    keys = None if assets is None else [harness.blueprint.key(name) for name in assets]
    return harness.run("retrain", run_id=RUN, tags=tags, asset_selection=keys, **more)


def run_until_only_retraining_is_left(harness: Harness) -> None:
    """Settle, but leave a retraining unlaunched."""
    for _ in range(50):
        work = outstanding(harness.context.timeline, harness.context.ledger_view(), harness.context.now())
        if all(isinstance(item, Retrain) for item in work):
            return
        request = harness.tick(work[0].sensor)
        assert isinstance(request, dg.RunRequest), request
        result = harness.carry_out(request)
        assert result is not None
        succeeded(result)
    pytest.fail("the loop does not settle")


def by_hand(harness: Harness, *assets: str, **more: Any) -> dg.ExecuteInProcessResult:
    """Materialize assets as a person does in the UI: through the job that Dagster has for that."""
    job = harness.definitions.resolve_implicit_global_asset_job_def()
    keys = [harness.blueprint.key(name) for name in assets]
    result = job.execute_in_process(
        instance=harness.instance, raise_on_error=False, asset_selection=keys, resources=None, **more
    )
    harness.close_runs()
    return result
