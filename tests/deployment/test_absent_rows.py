from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from example_project import ATTRIBUTES, PROMOTED, TRAINED, VERSION_1

from mlops_assets.deployment.scorer import absent_when_due
from mlops_assets.ledger.facts import Scored
from mlops_assets.ledger.view import LedgerView
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline

HOUR = timedelta(hours=1)
END = TRAINED + 24 * HOUR
"""Of the first window that is answered."""


def promoted() -> tuple[Any, ...]:
    """Version 1 serves since `TRAINED`, and what was due until `END` has been gone through."""
    return VERSION_1, PROMOTED, Scored(at=END, after=TRAINED, through=END, answered=23, late=0, missed=0)


@pytest.mark.parametrize(("after", "missed"), [(timedelta(0), 20), (3 * HOUR, 23), (4 * HOUR, 24)])
def test_a_row_that_came_after_its_tick_is_missed_only_when_its_time_is_over(after: timedelta, missed: int) -> None:
    """Asked every five hours, without a horizon: at the window's end the last rows may still be answered in time."""
    spec = ProjectSpec.model_validate(
        {**ATTRIBUTES, "data": {**ATTRIBUTES["data"], "horizon": "0h"}, "serving": {"every": "5h"}}
    )
    rows = pd.DataFrame({"event_time": pd.date_range(TRAINED, END, freq="h", inclusive="left")})
    found = absent_when_due(Timeline(spec), LedgerView("example", promoted()), rows, set(), END + after)
    assert len(found) == missed
    assert all("absent from the source until" in fact.reason for fact in found)
