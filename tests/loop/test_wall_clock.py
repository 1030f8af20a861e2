"""A project with a wall clock, as in production: its source has no rows of the future."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import simulated_projects
from project_replays import ProjectReplay, bootstrapped_replay

from mlops_assets.errors import Refused
from mlops_assets.loop.replay import advance
from mlops_assets.spec import ProjectSpec

STEP, HORIZON = timedelta(seconds=10), timedelta(seconds=20)
BEGUN = (datetime.now(UTC) - timedelta(hours=4)).replace(microsecond=0) + timedelta(minutes=50)
"""No window ends within the next fifty minutes: only predictions fall due."""
TICKS = 2
pytestmark = [pytest.mark.xdist_group("wall_clock"), pytest.mark.timeout(600)]


def read(start: datetime, end: datetime) -> pd.DataFrame:
    """Return the rows that a live source has now: `x` up to half a minute ahead, and `y` of steps that ended."""
    now = pd.Timestamp(datetime.now(UTC))
    times = pd.date_range(BEGUN, min(pd.Timestamp(end), now + 3 * STEP), freq=STEP, inclusive="left")
    times = times[times >= pd.Timestamp(start)]
    number = ((times - pd.Timestamp(BEGUN)) // STEP).to_numpy()
    x = np.sin(number * 1.7)
    y = 10 + 3 * x + np.sin(number / 50)
    return pd.DataFrame({"timestamp": times, "x": x, "y": np.where(times + STEP <= now, y, np.nan)})


def living() -> ProjectSpec:
    """Return the spec of a project without `clock`."""
    return ProjectSpec.model_validate(
        {
            "name": "living",
            "problem": {
                "statement": "The next twenty seconds of a simulated series, for tests.",
                "task": "regression",
                "target": "y",
                "metric": "mae",
                "baseline": {"type": "seasonal_naive", "season": "1h"},
                "validation": {"holdout": "40min"},
            },
            "data": {
                "source": "test_wall_clock.read",
                "every": "10s",
                "start": BEGUN.replace(tzinfo=None).isoformat(),
                "window": "hour",
                "horizon": "20s",
                "columns": {"x": {"dtype": "float"}, "y": {"dtype": "float"}},
            },
            "features": {
                "known": ["x"],
                "history": {"columns": ["y"], "length": "4min"},
                "calculators": "minimal",
                "select": {"sample": 60},
            },
            "training": {"max_models": 1, "algorithms": ["GLM"], "memory": "256m"},
            "promotion": {"min_rows": 40},
            "serving": {"every": "10s"},
            "retraining": simulated_projects.quiet(),
        }
    )


@pytest.fixture(scope="module")
def alive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectReplay]:
    with bootstrapped_replay(living(), tmp_path_factory.mktemp("living")) as play:
        # a prediction may fall due between the sensors' ticks and the check that nothing is outstanding
        play.harness.longest_wait = timedelta(minutes=1)
        first = play.view.first_as_of
        assert first is not None
        while (play.view.scored_through or first) < first + TICKS * STEP:
            play.harness.run_until_idle()
            play.require_success()
            time.sleep(0.5)
        yield play


def test_each_event_is_predicted_once_and_not_before_it_is_due(alive: ProjectReplay) -> None:
    history, context = alive.view, alive.context
    assert history.first_as_of is not None and history.scored_through is not None
    predictions = context.telemetry.predictions(
        "living", BEGUN, datetime.now(UTC) + timedelta(hours=1), roles=("champion",)
    )
    ticks = pd.date_range(BEGUN, history.scored_through.astimezone(UTC), freq=STEP)
    wanted = [moment for moment in ticks if moment >= pd.Timestamp(history.first_as_of)]
    assert list(predictions["due"]) == wanted
    assert len(wanted) >= TICKS
    assert not history.missed
    assert (predictions["event_time"] - predictions["due"] == HORIZON).all()
    assert (predictions["answered_at"] >= predictions["due"]).all()
    assert (predictions["now"] >= predictions["due"]).all()


def test_prediction_uses_past_values_up_to_its_due_time(alive: ProjectReplay) -> None:
    predictions = alive.context.telemetry.predictions(
        "living", BEGUN, datetime.now(UTC) + timedelta(hours=1), roles=("champion",)
    )
    for row in predictions.to_dict("records"):
        number = (row["due"] - pd.Timestamp(BEGUN)) // STEP - 1
        inputs = json.loads(row["inputs"]) if isinstance(row["inputs"], str) else row["inputs"]
        (history,) = [value for name, value in inputs.items() if name not in ("event_time", "x")]
        assert history[-1] == pytest.approx(10 + 3 * np.sin(number * 1.7) + np.sin(number / 50))


def test_wall_clock_project_cannot_be_replayed(alive: ProjectReplay) -> None:
    with pytest.raises(Refused, match="uses the system's clock"):
        list(advance(alive.context, alive.harness, until=datetime.now(UTC) + timedelta(days=1)))
