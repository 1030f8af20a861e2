from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from example_project import ATTRIBUTES, START, TRAINED, example_project

from mlops_assets.ledger.view import LedgerView
from mlops_assets.modeling.training_session import Session
from mlops_assets.timeline import Timeline


def nothing(*_: object) -> pd.DataFrame:
    return pd.DataFrame()


def session(metric: str, *, of_both_until: timedelta) -> Session:
    """High and low water by turns, and from a while before the training on only low."""
    problem = {"task": "classification", "metric": metric, "baseline": {"type": "majority"}}
    columns = {**ATTRIBUTES["data"]["columns"], "level": {"dtype": "category", "isin": ["high", "low"]}}
    timeline = Timeline(example_project(problem=problem, data={"columns": columns}))
    times = pd.date_range(START, TRAINED, freq="h", inclusive="left").astype("datetime64[ns, UTC]")
    level = ["high" if time.hour < 12 and time < TRAINED - of_both_until else "low" for time in times]
    frame = pd.DataFrame({"event_time": times, "hour": times.hour, "wind": 0.5, "level": level})
    return Session(timeline, LedgerView("tide", ()), frame, nothing, lambda _: Path(), TRAINED)


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_a_holdout_without_a_class_is_too_early_for_a_metric_that_needs_each_of_them(metric: str) -> None:
    """Found before anything is paid for: a training that fails would be tried again, and end the same."""
    assert session(metric, of_both_until=timedelta(days=1)).too_early is None
    found = session(metric, of_both_until=timedelta(days=3)).too_early
    wanted = "Too early to judge: none of 48 unseen labelled rows is high; roc_auc needs each."
    assert found == (wanted if metric == "roc_auc" else None)
