"""The shipped projects and their project contexts, without loading Dagster's definitions; the specs without Dagster at all."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mlops_assets.errors import SpecError
from mlops_assets.resources.scoring.config import ServiceConfig
from mlops_assets.resources.settings import ROOT, Settings
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.loading import collect_specs

if TYPE_CHECKING:
    from mlops_assets.context import ProjectContext
    from mlops_assets.resources.platform import Platform

log = logging.getLogger("mlops_assets.cli")
PROJECTS = Path(__file__).parent.parent / "projects"


def specs() -> dict[str, ProjectSpec]:
    """All projects, by name.

    Raises:
        SpecError: when one does not hold, or two have the same name; `dg check yaml` names the line.
    """
    return collect_specs(sorted(PROJECTS.glob("*/defs.yaml")))


def served(state: Path) -> dict[str, ProjectSpec]:
    """The projects whose service was ever started on a state folder, as it was told them; what cannot be read is left.

    A project that was renamed or removed since is among them.
    """
    found = {}
    for path in sorted(state.glob("projects/*/endpoint/config.json")):
        try:
            spec = ServiceConfig.model_validate_json(path.read_text()).spec
        except ValidationError as error:
            log.warning(f"{path} says of no service whose it is: {error}")
            continue
        found[spec.name] = spec
    return found


def platform() -> Platform:
    """The embedded platform on the configured state folder; relative folders of dagster.yaml count from the root."""
    from mlops_assets.resources.platform import Platform

    os.chdir(ROOT)
    # MLflow's notes on each table and version are for a server's log, not for a command's output.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    return Platform.configured(Settings())


def project_contexts(project: str | None) -> list[ProjectContext]:
    """The project context of one project, or of all."""
    return [project_context_of(project)] if project is not None else [platform().of(spec) for spec in specs().values()]


def spec_of(project: str) -> ProjectSpec:
    """One project.

    Raises:
        SpecError: when there is none of that name.
    """
    known = specs()
    if project not in known:
        raise SpecError(project, str(PROJECTS), f"no such project; there are {sorted(known)}", "name one of these")
    return known[project]


def project_context_of(project: str) -> ProjectContext:
    """The project context of a project.

    Raises:
        SpecError: when there is no project of that name.
    """
    return platform().of(spec_of(project))
