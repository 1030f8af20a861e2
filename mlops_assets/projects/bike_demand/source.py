"""Reads the bike rentals from their file."""

from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

FILE = Path(__file__).with_name("bike_hour.csv.xz")
ZONE = ZoneInfo("America/New_York")
COLUMNS = {"hr": "hour", "mnth": "month"}
KEPT = [
    "timestamp", "season", "month", "hour", "holiday", "weekday", "workingday", "weathersit",
    "temp", "atemp", "hum", "windspeed", "casual", "registered", "cnt",
]  # fmt: skip


@cache
def _rows() -> pd.DataFrame:
    rows = pd.read_csv(FILE)
    rows["timestamp"] = pd.to_datetime(rows["dteday"]) + pd.to_timedelta(rows["hr"], unit="h")
    return rows.rename(columns=COLUMNS)[KEPT]


def read(start: datetime, end: datetime) -> pd.DataFrame:
    """Return the hours that begin in [start, end).

    Args:
        start: aware time.
        end: aware time, not included.

    Returns:
        One row per hour with its naive local `timestamp` (Washington), calendar, weather and rentals, oldest first.
    """
    rows = _rows()
    first, last = (bound.astimezone(ZONE).replace(tzinfo=None) for bound in (start, end))
    between = slice(*rows["timestamp"].searchsorted([pd.Timestamp(first), pd.Timestamp(last)]))
    return rows.iloc[between].reset_index(drop=True)
