"""The shipped projects and their desks, without loading Dagster's definitions; the specs without Dagster at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from mlops_assets.errors import SpecError
from mlops_assets.spec import ProjectSpec
from resources.settings import ROOT, Settings

if TYPE_CHECKING:
    from resources.platform import Desk, Platform

PROJECTS = Path(__file__).parent.parent / "projects"


def specs() -> dict[str, ProjectSpec]:
    """All projects, by name.

    Raises:
        SpecError: when one does not hold; `dg check yaml` names the line.
    """
    found = {}
    for path in sorted(PROJECTS.glob("*/defs.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document.get("type") == "mlops_assets.MLProject":
                try:
                    spec = ProjectSpec.model_validate(document["attributes"])
                except ValidationError as error:
                    raise SpecError(
                        path.parent.name, str(path), str(error), "run `dg check yaml`, mend the field"
                    ) from error
                found[spec.name] = spec
    return found


def platform() -> Platform:
    """The embedded platform on the configured state folder; relative folders of dagster.yaml count from the root."""
    from resources.platform import Platform

    os.chdir(ROOT)
    # MLflow's notes on each table and version are for a server's log, not for a command's output.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    return Platform.configured(Settings())


def desks(project: str | None) -> list[Desk]:
    """The desk of one project, or of all."""
    return [desk_of(project)] if project is not None else [platform().of(spec) for spec in specs().values()]


def spec_of(project: str) -> ProjectSpec:
    """One project.

    Raises:
        SpecError: when there is none of that name.
    """
    known = specs()
    if project not in known:
        raise SpecError(project, str(PROJECTS), f"no such project; there are {sorted(known)}", "name one of these")
    return known[project]


def desk_of(project: str) -> Desk:
    """The desk of a project.

    Raises:
        SpecError: when there is no project of that name.
    """
    return platform().of(spec_of(project))
