"""Times as text and as numpy values, and the ids of events."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Times = npt.NDArray[np.datetime64]
"""UTC times, dtype ``datetime64[ns]``."""
DAY = timedelta(days=1)


def as_datetime64(moment: datetime) -> np.datetime64:
    """Return an aware time as numpy's naive UTC time in nanoseconds."""
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "ns")


def iso(moment: datetime) -> str:
    """Return the text of a time: ISO 8601 in UTC with a trailing Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse(text: str) -> datetime:
    """Return the UTC time of an ISO 8601 text with any zone.

    Raises:
        ValueError: the text is not ISO 8601, or has no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no zone; write ISO 8601 with a zone, as 2011-04-02T04:00:00Z")
    return moment.astimezone(UTC)


def event_id(project: str, entity: str | None, event_time: datetime) -> str:
    """Return the id of an event. It depends on project, entity and event time only."""
    return hashlib.sha256("\x1f".join([project, entity or "", iso(event_time)]).encode()).hexdigest()[:24]


def event_ids(project: str, events: pd.DataFrame) -> list[str]:
    """Return the id of each row's event.

    Args:
        project: name of the project.
        events: rows with `event_time` (with a zone), and `entity` if the project has several series.
    """
    entities = events["entity"] if "entity" in events else [None] * len(events)
    return [
        event_id(project, entity, stamp.to_pydatetime())
        for entity, stamp in zip(entities, events["event_time"], strict=True)
    ]
