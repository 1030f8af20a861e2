"""The platform's settings as a Dagster resource, from which assets, jobs and sensors open a project's resources."""

from __future__ import annotations

from typing import Any

import dagster as dg

from mlops_assets.resources.project import ProjectResources
from mlops_assets.resources.settings import Settings
from mlops_assets.spec import ProjectSpec

PATHS = ("root", "client_token_file", "endpoint_manifest")
ADDRESSES = (
    "host",
    "database_url",
    "mlflow_url",
    "lake_url",
    "dvc_remote",
    "influx_url",
    "influx_org",
    "influx_bucket",
)


class Platform(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the ledger, the lake, MLflow, InfluxDB and the other resources are.

    The fields are settings (`Settings`) of the same names. They hold no secret: Dagster shows them in the UI. Tokens
    and passwords are read from the environment when a connection is made.
    """

    home: str
    """The state folder."""
    root: str | None = None
    """The repository that holds the projects."""
    host: str = "127.0.0.1"
    database_url: str | None = None
    mlflow_url: str | None = None
    lake_url: str | None = None
    dvc_remote: str | None = None
    influx_url: str | None = None
    influx_org: str = "mlops"
    influx_bucket: str = "mlops"
    client_token_file: str | None = None
    endpoint_manifest: str | None = None

    @classmethod
    def configured(cls, settings: Settings) -> Platform:
        """Return the resource with the addresses of some settings."""
        given: dict[str, Any] = {name: getattr(settings, name) for name in ADDRESSES}
        paths = {name: getattr(settings, name) for name in PATHS}
        given |= {name: None if path is None else str(path) for name, path in paths.items()}
        return cls(home=str(settings.home.absolute()), **given)

    @property
    def settings(self) -> Settings:
        """The settings with these addresses. Settings that are not fields of this class come from the environment."""
        return Settings(home=self.home, **{name: getattr(self, name) for name in (*ADDRESSES, *PATHS)})

    def of(self, spec: ProjectSpec) -> ProjectResources:
        """Return a project's resources."""
        return ProjectResources(spec, self.settings)
