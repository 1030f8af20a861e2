"""A platform that takes a proof of concept into production and keeps it right there, on Dagster assets."""

from mlops_assets.project import MLProject

__all__ = ["MLProject"]
