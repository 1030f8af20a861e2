"""Reads the electricity market's data from their file."""

from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import pandas as pd

FILE = Path(__file__).with_name("elec2.csv.xz")
FIRST = datetime(1996, 5, 7)
ZONE = timezone(timedelta(hours=10))  # the market has no clock change


@cache
def _rows() -> pd.DataFrame:
    rows = pd.read_csv(FILE)
    rows.insert(0, "timestamp", pd.date_range(FIRST, periods=len(rows), freq="30min"))
    rows.insert(1, "weekday", rows["timestamp"].dt.dayofweek)
    rows["class"] = rows["class"].map({1: "UP", 0: "DOWN"})
    return rows


def read(start: datetime, end: datetime) -> pd.DataFrame:
    """Return the half-hours that begin in [start, end).

    Args:
        start: aware time.
        end: aware time, not included.

    Returns:
        48 rows per day with the market's naive local `timestamp`, demand, transfer, prices and class, oldest first.
    """
    rows = _rows()
    first, last = (bound.astimezone(ZONE).replace(tzinfo=None) for bound in (start, end))
    between = slice(*rows["timestamp"].searchsorted([pd.Timestamp(first), pd.Timestamp(last)]))
    return rows.iloc[between].reset_index(drop=True)
