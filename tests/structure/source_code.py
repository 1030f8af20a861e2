"""The code as the structure tests read it: modules, what they import and when, functions and their lengths."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("mlops_assets", "resources", "sensors")
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
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    def imports(self, *, typing: bool = True) -> set[str]:
        """Dotted names of everything imported anywhere; without `typing`, not what only a type checker imports."""
        return set(_imported(self.tree.body, everywhere=True, typing=typing))

    def imports_at_once(self) -> set[str]:
        """What is imported when the module is: outside functions, and not for a type checker alone."""
        return set(_imported(self.tree.body, everywhere=False, typing=False))

    def functions(self) -> Iterator[Function]:
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node


def modules() -> list[Module]:
    """Every module of the platform."""
    found = [Module("definitions", ROOT / "definitions.py")]
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def below(name: str, packages: set[str]) -> bool:
    """Whether a dotted name is one of the packages, or lies in one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def body(function: Function) -> list[ast.stmt]:
    """A function's statements, its docstring aside."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return function.body[1:] if documented else function.body


def length(function: Function) -> int:
    """Lines of a function's body, docstring and functions defined within it aside."""
    statements = body(function)
    if not statements:
        return 0
    whole = (statements[-1].end_lineno or 0) - statements[0].lineno + 1
    return whole - sum(_span(node) for statement in statements for node in _inner(statement))


def _inner(node: ast.AST) -> Iterator[Function]:
    if isinstance(node, Function):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _inner(child)


def _span(function: Function) -> int:
    start = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])
    return (function.end_lineno or 0) - start + 1


def _imported(statements: list[ast.stmt], *, everywhere: bool, typing: bool) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0 and statement.module is not None, "imports are absolute"
            # `from package import module` and `from module import name` look alike: both readings count
            yield statement.module
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
        elif isinstance(statement, Function) and not everywhere:
            continue
        elif isinstance(statement, ast.If) and not typing and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield from _imported(statement.orelse, everywhere=everywhere, typing=typing)
        else:
            for inner in _blocks(statement):
                yield from _imported(inner, everywhere=everywhere, typing=typing)


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for name in ("handlers", "cases"):
        yield from (inner.body for inner in getattr(statement, name, []))
