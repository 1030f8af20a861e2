"""`mlops-assets`: demo, status, replay, retrain, rollback, provenance, hold, down."""

from mlops_assets.cli.app import app

__all__ = ["app"]
