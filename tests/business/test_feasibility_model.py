from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from example_project import ATTRIBUTES, START, TRAINED, example_project, read

from mlops_assets.business.feasibility_model import evaluate_feasibility
from mlops_assets.timeline import Timeline

COLUMNS = ATTRIBUTES["data"]["columns"]
NULLABLE = {"dtype": "float", "nullable": True}


def labelled() -> pd.DataFrame:
    """Return twenty days of labelled rows of the example project."""
    frame = read(START, TRAINED).rename(columns={"timestamp": "event_time"})
    return frame.astype({"event_time": "datetime64[ns, UTC]"})


@pytest.mark.parametrize("days", [0, 1])
def test_column_without_values_does_not_stop_the_feasibility_model(days: int) -> None:
    timeline = Timeline(
        example_project(data={"columns": {**COLUMNS, "buoy": NULLABLE}}, features={"known": ["hour", "wind", "buoy"]})
    )
    without, _ = evaluate_feasibility(Timeline(example_project()), labelled())
    rows = labelled()
    rows["buoy"] = np.where(rows["event_time"] >= TRAINED - pd.Timedelta(days=days), rows["wind"], np.nan)
    found, _ = evaluate_feasibility(timeline, rows)
    assert found.verdict == "PROMOTE"
    assert found.candidate_loss == pytest.approx(without.candidate_loss)


def test_single_class_in_training_is_the_prediction() -> None:
    columns = {**COLUMNS, "level": {"dtype": "category", "isin": ["low", "high"]}}
    problem = {"task": "classification", "metric": "log_loss", "baseline": {"type": "majority"}}
    timeline = Timeline(example_project(problem=problem, data={"columns": columns}))
    rows = labelled()
    rows["level"] = np.where(rows["event_time"] >= TRAINED - pd.Timedelta(hours=12), "high", "low")
    _, shown = evaluate_feasibility(timeline, rows)
    assert set(shown["candidate"]) == {"low"}
    assert set(shown["label"]) == {"low", "high"}
