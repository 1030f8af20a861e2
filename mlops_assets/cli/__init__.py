"""`mlops-assets`: demo, status, replay, retrain, rollback, provenance, hold, dashboards, serve, down."""

from mlops_assets.cli.app import app

__all__ = ["app"]
