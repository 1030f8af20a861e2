"""All Dagster definitions of a repository: its projects, the resources that the settings name, and `run_status`."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from mlops_assets.blueprint import Blueprint
from mlops_assets.component import MLProject
from mlops_assets.garbage_collection import collect_rarely
from mlops_assets.resources.platform import Platform
from mlops_assets.resources.repository import make_importable
from mlops_assets.resources.settings import Settings
from mlops_assets.sensors.run_status import run_status


def platform_definitions(root: Path) -> dg.Definitions:
    """Return the definitions of all projects of a repository.

    Runs are processes of this machine unless dagster.yaml says otherwise.

    Args:
        root: the repository, the folder with dg's configuration. Unless MLOPS_ASSETS_HOME is set, the state folder is
            `.mlops` in it.
    """
    collect_rarely()
    make_importable(root)
    tree = dg.ComponentTree.for_project(root)
    blueprints = [Blueprint(project.spec) for project in tree.get_all_components(of_type=MLProject)]
    return dg.Definitions.merge(
        tree.build_defs(),
        dg.Definitions(
            resources={"platform": Platform.configured(Settings(root=root))},
            sensors=[run_status(blueprints, dg.DefaultSensorStatus.RUNNING)],
            # Heavy work runs in the JVM, or in processes of its own; a process per step would cost seconds each.
            executor=dg.in_process_executor,
        ),
    )
