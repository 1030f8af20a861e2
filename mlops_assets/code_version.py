"""The code version of an asset: a digest of the code that computes it.

Dagster marks an asset as stale when its code version differs from the one that it was last materialized with. A code
version here is a digest of

- the asset's function, and what it uses of its own module,
- the source text of every module that the function uses, and of all modules that these import, also inside functions,
- the versions of the installed distributions that these modules import.

`NOT_COMPUTING` names what is left out. It is imported by nearly everything, and a change there changes how an asset is
run, stored or shown, but not what is computed. Imports under `TYPE_CHECKING` are left out for the same reason.
Source is compared as text, so a changed comment changes the version too. The values of a `defs.yaml` are not code and
do not count.

Nothing is imported to find this out. Modules are found by their import specs and read as text.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

NOT_COMPUTING = (
    # how an asset is defined, launched and given its resources
    "dagster",
    "mlops_assets.blueprint",
    "mlops_assets.context",
    "mlops_assets.resources",
    "mlops_assets.loop",
    # how facts are stored, errors worded, and servers waited for
    "mlops_assets.ledger.database",
    "mlops_assets.ledger.lease",
    "mlops_assets.ledger.store",
    "mlops_assets.errors",
    "mlops_assets.files",
    "mlops_assets.waiting",
    # what the UI shows of a result
    "mlops_assets.charts",
    "mlops_assets.ui_metadata",
    "mlops_assets.business.metadata",
    "mlops_assets.acquisition.metadata",
    "mlops_assets.modeling.metadata",
    "mlops_assets.deployment.metadata",
    "mlops_assets.monitoring.metadata",
)
"""Modules (with their submodules) and libraries that do not decide what an asset computes."""
DISTRIBUTIONS = {"jpype": "jpype1", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Distributions whose name is not that of their package. Others are looked up, which takes a second."""


def code_version(function: Callable[..., Any], modules: Sequence[str] = ()) -> str:
    """Return the code version of an asset.

    Args:
        function: the asset's function, undecorated. It may be defined inside another function.
        modules: names of modules that compute the asset and that the function does not import, such as the module of
            the project's source function.

    Returns:
        Twelve hexadecimal digits.
    """
    return _reader().version(function.__module__, function.__name__, modules)


@cache
def _reader() -> SourceReader:
    return SourceReader()


@dataclass
class Module:
    """The source of one module, and what it imports.

    Attributes:
        name: dotted name.
        package: dotted name of the package that its relative imports start from.
        text: its source.
        tree: its syntax tree.
        imports: names of the modules and packages that it imports when it runs.
    """

    name: str
    package: str
    text: str
    tree: ast.Module
    imports: frozenset[str]

    @cached_property
    def definitions(self) -> dict[str, list[Definition]]:
        """Functions and classes by name, wherever they are defined, and the module's own variables."""
        return _definitions(self.tree)


@dataclass
class AssetCode:
    """The code that computes an asset.

    Attributes:
        parts: source text by name of the module or, for the asset's own module, of the definition.
        libraries: versions by name of the imported top-level package.
    """

    parts: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Return a digest of all parts and versions."""
        digest = hashlib.sha256()
        for name, content in sorted([*self.parts.items(), *self.libraries.items()]):
            digest.update(f"{name}\0{len(content)}\0{content}\0".encode())
        return digest.hexdigest()[:12]


class SourceReader:
    """Reads modules and finds what they import. What it has read is kept, so a changed file needs a new reader."""

    def __init__(self) -> None:
        self._modules: dict[str, Module | None] = {}
        self._paths: dict[str, Path | None] = {}
        self._versions: dict[str, str | None] = {}

    def version(self, module: str, function: str, modules: Sequence[str] = ()) -> str:
        """Return the code version of a function; see `code_version`."""
        return self.find(module, function, modules).digest()

    def find(self, module: str, function: str, modules: Sequence[str] = ()) -> AssetCode:
        """Return the code that a function consists of, without what `NOT_COMPUTING` names."""
        found = AssetCode()
        own = self._module(module)
        used = list(modules)
        if own is not None:
            used += self._of_definition(own, function, found)
        roots = {name.partition(".")[0] for name in (module, *modules)}
        seen: set[str] = set()
        while used:
            name = used.pop()
            if name in seen or _is_excluded(name):
                continue
            seen.add(name)
            root = name.partition(".")[0]
            if root not in roots and (version := self._version(root)) is not None:
                found.libraries[root] = version
            elif name != module and (read := self._module(name)) is not None:
                found.parts[name] = read.text
                used += read.imports
        return found

    def _of_definition(self, module: Module, function: str, found: AssetCode) -> list[str]:
        """Add a definition, and those of the same module that it uses, to `found`; return the modules they import."""
        bindings = {
            bound: self._targets(module.package, node, alias)
            for node in _imports(module.tree.body)
            for alias in node.names
            for bound in [alias.asname or alias.name.partition(".")[0]]
        }
        lines, names, used, seen = module.text.splitlines(), [function], [], set()
        while names:
            name = names.pop()
            if name in seen:
                continue
            seen.add(name)
            used += bindings.get(name, [])
            for node in module.definitions.get(name, []):
                text = "\n".join(lines[_first_line(node) - 1 : node.end_lineno])
                found.parts[f"{module.name}:{name}:{node.lineno}"] = text
                names += [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]
                local = node.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else []
                names += [a.asname or a.name.partition(".")[0] for i in _imports(local) for a in i.names]
        return used

    def _module(self, name: str) -> Module | None:
        """Return a module; None when there is none of that name, or it is not Python source."""
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def _read(self, name: str) -> Module | None:
        path = self._path(name)
        if path is None:
            return None
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        imports = (
            target
            for node in _imports(tree.body)
            for alias in node.names
            for target in self._targets(package, node, alias)
        )
        return Module(name, package, text, tree, frozenset(imports))

    def _path(self, name: str) -> Path | None:
        """Return a module's file; None without one. The packages around it are not imported."""
        if name not in self._paths:
            above, _, last = name.rpartition(".")
            if above:
                package = self._path(above)
                inside = package is not None and package.name == "__init__.py"
                self._paths[name] = _file_in(package.parent, last) if package is not None and inside else None
            else:
                self._paths[name] = _file_of_root(name)
        return self._paths[name]

    def _targets(self, package: str, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> list[str]:
        """Return the modules that one imported name stands for."""
        if isinstance(node, ast.Import):
            return [alias.name]
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, base] if base else above)
        if base.partition(".")[0] in sys.stdlib_module_names:
            return []
        inner = f"{base}.{alias.name}"
        return [base] if self._path(inner) is None else [inner]

    def _version(self, root: str) -> str | None:
        """Return the version of the distribution that brings a top-level package.

        Returns:
            The version; an empty text for the standard library; None for a package that no distribution brings.
        """
        if root not in self._versions:
            self._versions[root] = "" if root in sys.stdlib_module_names else _installed_version(root)
        return self._versions[root]


def _file_of_root(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # the module's `__spec__` is None, as that of `__main__` may be
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _file_in(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name / "__init__.py", folder / f"{name}.py") if path.exists()), None)


def _installed_version(root: str) -> str | None:
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(root, root))
    except importlib.metadata.PackageNotFoundError:
        names = sorted(set(_distributions().get(root, [])))
        return " ".join(importlib.metadata.version(name) for name in names) if names else None


@cache
def _distributions() -> Any:
    return importlib.metadata.packages_distributions()


def _is_excluded(name: str) -> bool:
    return any(name == excluded or name.startswith(f"{excluded}.") for excluded in NOT_COMPUTING)


def _imports(body: Sequence[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements of a block and of all blocks in it, without those for type checkers alone."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            yield from _imports(node.orelse)
        else:
            for block in ("body", "orelse", "finalbody"):
                inner = getattr(node, block, None)
                if isinstance(inner, list):
                    yield from _imports(inner)
            for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                yield from _imports(part.body)


def _is_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


def _definitions(tree: ast.Module) -> dict[str, list[Definition]]:
    found: dict[str, list[Definition]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.setdefault(node.name, []).append(node)
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(statement)
    return found


def _first_line(node: Definition) -> int:
    """Return the line that a definition begins on, its decorators included."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return node.lineno
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
