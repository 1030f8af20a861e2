"""Conversion between a time zone's local times and UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Zone:
    """A time zone.

    Attributes:
        name: its IANA name.
        ambiguous: which of the two times is meant when clocks go back and a local time occurs twice. `error` is checked
            when rows are read; here it means `first`.
    """

    name: str
    ambiguous: Literal["first", "second", "error"] = "first"

    @cached_property
    def info(self) -> ZoneInfo:
        """The zone's rules."""
        return ZoneInfo(self.name)

    def utc(self, local: datetime) -> datetime:
        """Return a naive local time in UTC. A local time that is skipped when clocks go forward is shifted forward."""
        found = local.replace(tzinfo=self.info, fold=1 if self.ambiguous == "second" else 0).astimezone(UTC)
        if found.astimezone(self.info).replace(tzinfo=None) < local:
            # with fold=1, a local time that does not exist is converted to a time before the gap
            return local.replace(tzinfo=self.info, fold=0).astimezone(UTC)
        return found

    def local(self, moment: datetime) -> datetime:
        """Return a UTC time as naive local time."""
        return moment.astimezone(self.info).replace(tzinfo=None)
