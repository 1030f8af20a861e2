"""tsfresh, imported without stumpy.

tsfresh's calculators import stumpy, and that numba: two thirds of the time that tsfresh takes to load (3.8 of 6.1 s on
two shared cores), in each service and each training. One calculator calls it: `query_similarity_count` with a query. So
stumpy is loaded when something is first asked of it.

The standard library's `LazyLoader` would not do: it loads a module when any attribute is read, and `inspect.getmodule`,
which pydantic calls, reads `__file__` of all modules there are.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

SELDOM_USED = "stumpy"


class _Deferred(ModuleType):
    """Stands for a module until an attribute is read that every module has not."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _AtFirstUse(MetaPathFinder, Loader):
    """Finds one module, and has a `_Deferred` stand for it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec of the module, to be loaded by this class; None for any other module."""
        if fullname != SELDOM_USED:
            return None
        # a service may be installed without it: then the calculator that asks for it says so
        found = PathFinder.find_spec(fullname, path, target) or ModuleSpec(fullname, self)
        found.loader = self
        return found

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stand-in."""
        return _Deferred(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""


def import_tsfresh() -> None:
    """Import tsfresh, if nobody has yet; to be called before a function imports parts of it."""
    if "tsfresh" in sys.modules:
        return
    finder = _AtFirstUse()
    sys.meta_path.insert(0, finder)
    try:
        import tsfresh  # noqa: F401
    finally:
        sys.meta_path.remove(finder)
