from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from example_project import ATTRIBUTES, START, TRAINED, example_project

from mlops_assets.ledger.view import LedgerView
from mlops_assets.modeling.training_session import TrainingSession
from mlops_assets.timeline import Timeline


def nothing(*_: object) -> pd.DataFrame:
    return pd.DataFrame()


def session(metric: str, *, of_both_until: timedelta) -> TrainingSession:
    """Return a session whose labels alternate between high and low, until only low ones follow."""
    problem = {"task": "classification", "metric": metric, "baseline": {"type": "majority"}}
    columns = {**ATTRIBUTES["data"]["columns"], "level": {"dtype": "category", "isin": ["high", "low"]}}
    timeline = Timeline(example_project(problem=problem, data={"columns": columns}))
    times = pd.date_range(START, TRAINED, freq="h", inclusive="left").as_unit("ns")
    level = ["high" if time.hour < 12 and time < TRAINED - of_both_until else "low" for time in times]
    frame = pd.DataFrame({"event_time": times, "hour": times.hour, "wind": 0.5, "level": level})
    return TrainingSession(timeline, LedgerView("example", ()), frame, nothing, lambda _: Path(), TRAINED)


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_roc_auc_needs_a_holdout_with_rows_of_each_class(metric: str) -> None:
    """The check comes before the training, which would fail, be started again and fail in the same way."""
    assert session(metric, of_both_until=timedelta(days=1)).too_few_unseen is None
    found = session(metric, of_both_until=timedelta(days=3)).too_few_unseen
    wanted = "None of the 48 unseen labelled rows is high; roc_auc needs rows of each class."
    assert found == (wanted if metric == "roc_auc" else None)
