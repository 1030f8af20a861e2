"""The command line `mlops-assets`."""

from mlops_assets.cli.app import app

__all__ = ["app"]
