"""The projects' sources, as assets get them."""

from __future__ import annotations

import dagster as dg

from mlops_assets.acquisition.source import Source
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline


class SourceResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Reads a project's rows through the function that its YAML names."""

    def of(self, spec: ProjectSpec) -> Source:
        """The source of a project."""
        return Source(spec, Timeline(spec))
