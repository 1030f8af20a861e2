"""The source code as the structure tests read it: modules, their functions, and the length of these."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {"mlops_assets": "mlops_assets", "mlops_assets.resources": "resources", "mlops_assets.sensors": "sensors"}
"""Package name by the folder that holds it."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file.

    Attributes:
        name: dotted; a package is its `__init__`.
        path: where it is.
    """

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        """Return the parsed source."""
        return ast.parse(self.path.read_text())

    def functions(self) -> Iterator[Function]:
        """Yield every function and method, those within functions too."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node


def modules() -> list[Module]:
    """Return every module of the package, and the composition root."""
    found = [Module("definitions", ROOT / "definitions.py")]
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            inner = parts[:-1] if parts[-1] == "__init__" else parts
            found.append(Module(".".join([package, *inner]), path))
    return found


def below(name: str, packages: set[str]) -> bool:
    """Return whether a dotted name is one of the packages, or lies in one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def length(function: Function) -> int:
    """Return the lines of a function's body without its docstring and without functions defined within it."""
    statements = _body(function)
    if not statements:
        return 0
    whole = (statements[-1].end_lineno or 0) - statements[0].lineno + 1
    return whole - sum(_span(node) for statement in statements for node in _inner(statement))


def _body(function: Function) -> list[ast.stmt]:
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return function.body[1:] if documented else function.body


def _inner(node: ast.AST) -> Iterator[Function]:
    if isinstance(node, Function):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _inner(child)


def _span(function: Function) -> int:
    start = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    return (function.end_lineno or 0) - start + 1
