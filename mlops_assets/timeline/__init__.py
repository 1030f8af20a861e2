"""A project's time: zones, the grid of its series, calendar windows, what is known when, and Dagster's partitions."""

from mlops_assets.timeline.timeline import Timeline
from mlops_assets.timeline.times import DAY, Times, as_datetime64, event_id, event_ids, iso, parse
from mlops_assets.timeline.windows import Window, contiguous

__all__ = ["DAY", "Timeline", "Times", "Window", "as_datetime64", "contiguous", "event_id", "event_ids", "iso", "parse"]
