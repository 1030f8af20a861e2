"""A platform that takes a proof of concept into production and keeps it right there, on Dagster assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_assets.component import MLProject

__all__ = ["MLProject"]


def __getattr__(name: str) -> object:
    """Import the component when it is asked for: a scoring service or a model must not pay for Dagster's import."""
    if name == "MLProject":
        from mlops_assets.component import MLProject

        return MLProject
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is, for Dagster's search for components."""
    return [*globals(), *__all__]
