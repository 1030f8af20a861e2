"""The lake, as assets get it."""

from __future__ import annotations

import dagster as dg

from mlops_assets.resources.storage.lake import Lake


class LakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the lake is."""

    root: str
    """A folder, or a `gs://` URL."""

    def open(self) -> Lake:
        """The lake."""
        return Lake(self.root)
