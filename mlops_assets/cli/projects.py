"""The projects of the repository that a command is run in; their specs without Dagster."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mlops_assets.errors import SpecError
from mlops_assets.resources.repository import find_root, make_importable
from mlops_assets.resources.scoring.config import ServiceConfig
from mlops_assets.resources.settings import Settings
from mlops_assets.spec import ProjectSpec

if TYPE_CHECKING:
    from mlops_assets.resources.project import ProjectResources

log = logging.getLogger("mlops_assets.cli")


def repository_settings() -> Settings:
    """Return the settings with the repository that a command is run in, and make its root the working directory.

    Relative folders of the settings and of dagster.yaml count from the root.

    Raises:
        NotReady: when the working directory is in no repository.
    """
    root = find_root()
    os.chdir(root)
    make_importable(root)
    return Settings(root=root)


def specs(settings: Settings) -> dict[str, ProjectSpec]:
    """Return all projects of the repository by name.

    Raises:
        SpecError: when one is not valid, or two have the same name; `dg check yaml` shows the line.
    """
    return settings.repository.specs()


def spec_of(settings: Settings, project: str) -> ProjectSpec:
    """Return one project of the repository.

    Raises:
        SpecError: when there is none of that name.
    """
    known = specs(settings)
    if project not in known:
        place = str(settings.repository.projects)
        found = f"no such project; there are {sorted(known)}" if known else "there is no project here"
        raise SpecError(project, place, found, "check the name, or run the command in the project's repository")
    return known[project]


def served_specs(state: Path) -> dict[str, ProjectSpec]:
    """Return the projects whose service was ever started on a state folder, from the services' own configuration.

    A project that was renamed or removed since is among them. Files that cannot be read are logged and left out.
    """
    found = {}
    for path in sorted(state.glob("projects/*/endpoint/config.json")):
        try:
            spec = ServiceConfig.model_validate_json(path.read_text()).spec
        except ValidationError as error:
            log.warning(f"{path} does not say whose service it configures: {error}")
            continue
        found[spec.name] = spec
    return found


def open_project(settings: Settings, spec: ProjectSpec) -> ProjectResources:
    """Return a project's resources."""
    from mlops_assets.resources.project import ProjectResources

    # MLflow's notes on each table and version are for a server's log, not for a command's output.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    return ProjectResources(spec, settings)


def project_contexts(settings: Settings, project: str | None) -> list[ProjectResources]:
    """Return the context of one project, or without a name of all."""
    if project is not None:
        return [project_context_of(settings, project)]
    return [open_project(settings, spec) for spec in specs(settings).values()]


def project_context_of(settings: Settings, project: str) -> ProjectResources:
    """Return the context of a project.

    Raises:
        SpecError: when there is no project of that name.
    """
    return open_project(settings, spec_of(settings, project))
