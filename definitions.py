"""The composition root: the projects of this repository, on the resources that the settings name."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from mlops_assets.definitions import platform_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Return all definitions of this repository."""
    return platform_definitions(Path(__file__).parent)
