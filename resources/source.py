"""The projects' sources, as assets get them."""

from __future__ import annotations

import dagster as dg

from mlops_assets.source.project_source import ProjectSource
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline


class SourceResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Reads a project's rows through the function that its YAML names."""

    def of(self, spec: ProjectSpec) -> ProjectSource:
        """The source of a project."""
        return ProjectSource(spec, Timeline(spec))
