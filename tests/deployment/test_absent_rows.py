"""Events whose rows were absent from the source while they could be predicted."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from example_project import ATTRIBUTES, PROMOTED, TRAINED, VERSION_1

from mlops_assets.deployment.window_predictions import _absent
from mlops_assets.ledger.facts import Scored
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.event_account import due_events
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline

HOUR = timedelta(hours=1)
END = TRAINED + 24 * HOUR
"""End of the first window with predictions."""


def scored_through_the_window() -> tuple[Any, ...]:
    """Return the facts of a version that serves since `TRAINED`, after a scoring that found no row until `END`."""
    return VERSION_1, PROMOTED, Scored(at=END, after=TRAINED, through=END, answered=0, late=0, missed=0)


@pytest.mark.parametrize(("after", "missed"), [(timedelta(0), 20), (3 * HOUR, 23), (4 * HOUR, 24)])
def test_absent_event_is_missed_only_after_its_deadline(after: timedelta, missed: int) -> None:
    """With a tick every five hours and no horizon, the last rows of a window may still be predicted at its end."""
    spec = ProjectSpec.model_validate(
        {**ATTRIBUTES, "data": {**ATTRIBUTES["data"], "horizon": "0h"}, "serving": {"every": "5h"}}
    )
    timeline = Timeline(spec)
    rows = pd.DataFrame({"event_time": pd.date_range(TRAINED, END, freq="h", inclusive="left")})
    no_predictions = SimpleNamespace(predictions=lambda *_: pd.DataFrame())
    context: Any = SimpleNamespace(spec=spec, timeline=timeline, telemetry=no_predictions)
    view = LedgerView(spec.name, scored_through_the_window())
    found = _absent(context, view, due_events(timeline, rows, view.first_as_of, END), END + after)
    assert len(found) == missed
    assert all("absent from the source until" in fact.reason for fact in found)
