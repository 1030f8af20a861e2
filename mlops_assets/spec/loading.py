"""Read project specs from `defs.yaml` files, without Dagster."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import yaml
from pydantic import ValidationError

from mlops_assets.errors import SpecError
from mlops_assets.spec.project import ProjectSpec

COMPONENT = "mlops_assets.MLProject"
"""The component type whose YAML documents declare a project."""


def read_specs(path: Path) -> list[ProjectSpec]:
    """Return the projects that one YAML file declares; documents of other component types are ignored.

    Args:
        path: the `defs.yaml`.

    Raises:
        SpecError: the file is no YAML, or a project in it is not valid.
    """
    try:
        documents = [found for found in yaml.safe_load_all(path.read_text()) if isinstance(found, dict)]
        return [
            ProjectSpec.model_validate(found.get("attributes")) for found in documents if found.get("type") == COMPONENT
        ]
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(
            path.parent.name, str(path), str(error), "correct the field; `dg check yaml` shows its line"
        ) from error


def collect_specs(paths: Iterable[Path]) -> dict[str, ProjectSpec]:
    """Return the projects that several YAML files declare, by name.

    Args:
        paths: the files, in the order in which their projects are returned.

    Raises:
        SpecError: a project is not valid, or two have the same name.
    """
    found: dict[str, ProjectSpec] = {}
    places: dict[str, Path] = {}
    for path in paths:
        for spec in read_specs(path):
            if spec.name in found:
                both = f"{places[spec.name]} declares a project of the same name"
                raise SpecError(spec.name, str(path), both, "rename one of them")
            found[spec.name], places[spec.name] = spec, path
    return found
