"""The composition root: loads the projects, picks the resources for this environment."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.component import MLProject
from mlops_assets.garbage_collection import collect_rarely
from mlops_assets.resources.platform import Platform
from mlops_assets.resources.settings import Settings
from mlops_assets.sensors.run_status import run_status


@dg.definitions
def defs() -> dg.Definitions:
    """All projects, on the parts that the settings name; runs are processes of this machine."""
    collect_rarely()
    tree = dg.ComponentTree.for_project(Path(__file__).parent)
    blueprints = [Blueprint(project.spec) for project in tree.get_all_components(of_type=MLProject)]
    return dg.Definitions.merge(
        tree.build_defs(),
        dg.Definitions(
            resources={"platform": Platform.configured(Settings())},
            sensors=[run_status(blueprints, dg.DefaultSensorStatus.RUNNING)],
            # Heavy work runs in the JVM, or in processes of its own; a process per step would cost seconds each.
            executor=dg.in_process_executor,
        ),
    )
