"""Import tsfresh without stumpy, which takes most of its import time.

tsfresh's calculators import stumpy, and stumpy imports numba: two thirds of the time that tsfresh takes to load (3.8 of
6.1 s on two shared cores), in each service and each training. Only one calculator calls it: `query_similarity_count`
with a query. So stumpy is loaded when one of its attributes is first read.

`importlib.util.LazyLoader` is not usable here: it loads a module when any attribute is read, and `inspect.getmodule`,
which pydantic calls, reads `__file__` of all loaded modules.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

DEFERRED = "stumpy"


class _Deferred(ModuleType):
    """Placeholder for a module; loads it when an attribute is read that is not one of Python's own (`__name__`)."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _DeferredFinder(MetaPathFinder, Loader):
    """Import hook that puts a `_Deferred` placeholder into `sys.modules` for one module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec of the module with this class as its loader; None for any other module."""
        if fullname != DEFERRED:
            return None
        # when stumpy is not installed, the calculator that needs it raises the error, and the others work
        found = PathFinder.find_spec(fullname, path, target) or ModuleSpec(fullname, self)
        found.loader = self
        return found

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the placeholder."""
        return _Deferred(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the placeholder loads the module later."""


def import_tsfresh() -> None:
    """Import tsfresh unless it is loaded already; call it before importing parts of tsfresh."""
    if "tsfresh" in sys.modules:
        return
    finder = _DeferredFinder()
    sys.meta_path.insert(0, finder)
    try:
        import tsfresh  # noqa: F401
    finally:
        sys.meta_path.remove(finder)
