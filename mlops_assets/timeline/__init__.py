"""A project's time: zones, the grid of the series, calendar windows, and what is known when."""

from mlops_assets.timeline.grid import DAY, Times, as_datetime64
from mlops_assets.timeline.timeline import Timeline, Window, contiguous, event_id, iso, parse

__all__ = ["DAY", "Timeline", "Times", "Window", "as_datetime64", "contiguous", "event_id", "iso", "parse"]
