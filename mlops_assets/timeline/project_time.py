"""The start and end of a project's data, its time zone and its grid."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

from mlops_assets.spec.project import ProjectSpec
from mlops_assets.timeline.grid import Grid
from mlops_assets.timeline.zones import Zone


class ProjectTime:
    """What windows and availability are computed from.

    Args:
        spec: the project's `defs.yaml`.
    """

    def __init__(self, spec: ProjectSpec) -> None:
        self.spec = spec
        self.project = spec.name
        self.zone = Zone(spec.data.time_zone, spec.data.ambiguous)
        self.grid = Grid(self.zone, spec.data.start, spec.data.every)
        self.every = spec.data.every
        self.horizon = spec.data.horizon

    def utc(self, local: datetime) -> datetime:
        """Return a naive local time in UTC. A local time that does not exist is shifted forward."""
        return self.zone.utc(local)

    def local(self, moment: datetime) -> datetime:
        """Return a UTC time as naive local time."""
        return self.zone.local(moment)

    @cached_property
    def start(self) -> datetime:
        """Start of the project's data."""
        return self.utc(self.spec.data.start)

    @cached_property
    def end(self) -> datetime | None:
        """End of the project's data; None when new rows keep arriving."""
        return None if self.spec.data.end is None else self.utc(self.spec.data.end)
