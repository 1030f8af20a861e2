"""Dagster's partition keys of windows. They are local times; everything else uses window ids. See ``docs/time.md``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from mlops_assets.timeline.windows import Window, WindowCalendar


def partition_arguments(calendar: WindowCalendar) -> dict[str, Any]:
    """Return the arguments of `dagster.TimeWindowPartitionsDefinition` for a project's windows."""
    start, kind = calendar.spec.data.start, calendar.spec.data.window
    clock = f"{start.minute} {start.hour}"
    schedule = {
        "hour": f"{calendar.start.minute} * * * *",
        "day": f"{clock} * * *",
        "week": f"{clock} * * {(start.weekday() + 1) % 7}",
        "month": f"{clock} {start.day} * *",
    }[kind]
    arguments: dict[str, Any] = {
        "start": partition_key(calendar, calendar.start),
        "fmt": _format(calendar),
        "timezone": _zone(calendar),
        "cron_schedule": schedule,
    }
    if calendar.end is not None:
        arguments["end"] = partition_key(calendar, calendar.end)
    return arguments


def partition_key(calendar: WindowCalendar, start: datetime) -> str:
    """Return Dagster's partition key of the window that starts at a time."""
    return start.astimezone(ZoneInfo(_zone(calendar))).strftime(_format(calendar))


def window_of_partition(calendar: WindowCalendar, key: str) -> Window:
    """Return the window of Dagster's partition key."""
    naive = datetime.strptime(key, _format(calendar))
    if calendar.spec.data.window == "hour":
        return calendar.window_at(naive.replace(tzinfo=UTC))
    start = calendar.spec.data.start
    return calendar.window_at(calendar.utc(naive.replace(hour=start.hour, minute=start.minute)))


def _format(calendar: WindowCalendar) -> str:
    return "%Y-%m-%d-%H:%M" if calendar.spec.data.window == "hour" else "%Y-%m-%d"


def _zone(calendar: WindowCalendar) -> str:
    # hours are keyed in UTC, because a local hour occurs twice when clocks go back
    return "UTC" if calendar.spec.data.window == "hour" else calendar.spec.data.time_zone
