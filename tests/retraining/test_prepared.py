from __future__ import annotations

from datetime import timedelta

import numpy as np
from tide import TRAINED, read, tide

from mlops_assets.retraining.prepared import prepare
from mlops_assets.timeline import Timeline


def test_no_row_is_learned_from_whose_history_the_training_window_cut_off() -> None:
    """Of eight days the first 30 hours: a day of history, known six hours before the event."""
    rows = read(TRAINED - timedelta(days=8), TRAINED).rename(columns={"timestamp": "event_time"})
    prepared = prepare(Timeline(tide()), rows.astype({"event_time": "datetime64[ns, UTC]"}), None)
    assert prepared.split.usable.tolist() == [False] * 30 + [True] * (7 * 24 - 6)
    assert not np.isnan(prepared.inputs.history["level"][prepared.split.usable]).any()
