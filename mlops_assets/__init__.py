"""A platform that brings an ML project into production and keeps its model accurate, on Dagster assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_assets.component import MLProject
    from mlops_assets.project import open_project

__all__ = ["MLProject", "open_project"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: a scoring service must not load Dagster, nor a notebook."""
    if name == "MLProject":
        from mlops_assets.component import MLProject

        return MLProject
    if name == "open_project":
        from mlops_assets.project import open_project

        return open_project
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return all names; Dagster searches them for components."""
    return [*globals(), *__all__]
