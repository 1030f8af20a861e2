"""Imports the functions that a `defs.yaml` names; errors name the line."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_assets.errors import SpecError
from mlops_assets.spec.project import ProjectSpec


def import_function(project: str, place: str, path: str) -> Callable[..., Any]:
    """Return the function of a dotted path.

    Raises:
        SpecError: its module cannot be imported, or has no such function.
    """
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise SpecError(
            project,
            place,
            f"{path} cannot be imported: {error}",
            "name a function on the Python path, for example package.module.function",
        ) from error
    if not callable(found):
        raise SpecError(
            project, place, f"{path} is a value of type {type(found).__name__}, not a function", "name a function"
        )
    return found  # type: ignore[no-any-return]


def require_importable(spec: ProjectSpec, file: Path) -> None:
    """Import every function that a project names.

    Raises:
        SpecError: a function cannot be imported; the error has the file and the line.
    """
    named = {"data.source": spec.data.source, "data.collect": spec.data.collect}
    for field, path in named.items():
        if path is not None:
            import_function(spec.name, f"{file}:{_line_of(file, path)} ({field})", path)


def _line_of(file: Path, text: str) -> int:
    if not file.exists():
        return 0
    return next((number for number, line in enumerate(file.read_text().splitlines(), start=1) if text in line), 0)
