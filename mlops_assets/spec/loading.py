"""Read project specs from `defs.yaml` files, without Dagster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
        SpecError: the file is not YAML, or a project in it is not valid; the error names the line of each field.
    """
    try:
        text = path.read_text(encoding="utf-8")
        nodes = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if isinstance(node, yaml.MappingNode)]
        documents = [found for found in yaml.safe_load_all(text) if isinstance(found, dict)]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(path.parent.name, str(path), f"it is not YAML: {error}", "correct the syntax") from error
    found = []
    for node, document in zip(nodes, documents, strict=True):
        if document.get("type") == COMPONENT:
            try:
                found.append(ProjectSpec.model_validate(document.get("attributes")))
            except ValidationError as error:
                raise _at_its_lines(path, node, error) from error
    return found


def _at_its_lines(path: Path, document: yaml.MappingNode, error: ValidationError) -> SpecError:
    """Return all mistakes of one project as one error; each is named with the line of its field."""
    mistakes = [(_line_of(document, ("attributes", *each["loc"])), each) for each in error.errors()]
    found = "; ".join(
        f"line {line}, {'.'.join(map(str, each['loc'])) or 'attributes'}: {each['msg']}" for line, each in mistakes
    )
    return SpecError(path.parent.name, f"{path}:{mistakes[0][0]}", found, "correct the fields; see docs/project.md")


def _line_of(node: yaml.Node, place: Sequence[int | str]) -> int:
    """Return the line of a field, or of the innermost mapping or list around it that is there; 1 is the first line."""
    line = node.start_mark.line + 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == part), None)
            if entry is None:  # a missing field, or the type of a union's member, which pydantic adds to the path
                continue
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


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
