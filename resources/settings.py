"""The one settings model: which part stands where. Environment variables `MLOPS_ASSETS_*` override the defaults.

No setting holds a secret that another library has a place for: a database's password is libpq's (`PGPASSWORD` or
`PGPASSFILE`), Google's credentials are the application's default ones, MLflow's are `MLFLOW_TRACKING_USERNAME` and
`MLFLOW_TRACKING_PASSWORD`. So addresses can be shown, in the UI too.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlops_assets.resources.repository import Repository, find_root


def _without_password(url: str | None) -> str | None:
    if url is not None and (urlsplit(url).password is not None or "password" in parse_qs(urlsplit(url).query)):
        raise ValueError("an address without a password was expected: give that as PGPASSWORD, or in a PGPASSFILE")
    return url


Address = Annotated[str | None, AfterValidator(_without_password)]


class Settings(BaseSettings):
    """Where the platform's parts are; without any setting everything is embedded in one folder."""

    model_config = SettingsConfigDict(
        env_prefix="MLOPS_ASSETS_", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    root: Path | None = None
    """The repository that holds the projects; without it the nearest folder at or above the working directory that has
    a `dg.toml`, or a `pyproject.toml` with `[tool.dg]`."""
    home: Path = Field(default_factory=lambda given: find_root(given.get("root")) / ".mlops")
    """The state folder; safe to delete when everything is embedded. Without it `.mlops` in the repository."""
    client_token_file: Path | None = None
    """A file with the token that callers of an endpoint must send; without it none is asked for."""
    host: str = "127.0.0.1"
    """The address that endpoints listen on."""

    database_url: Address = None
    """PostgreSQL for the ledger, as `postgresql://user@host:port/name`; without it the ledger is an SQLite
    file in the state folder. The password is libpq's: `PGPASSWORD`, or a file named by `PGPASSFILE`."""
    mlflow_url: Address = None
    """An MLflow server, as `http://host:port`; without it MLflow works on an SQLite file in the state folder.
    Its credentials are MLflow's own: `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`."""
    lake_url: str | None = None
    """Where windows of rows are kept, as `gs://bucket/lake`; without it a folder in the state folder. A bucket needs
    object versioning. Credentials are the application's default ones (Workload Identity on GKE)."""
    dvc_remote: str | None = None
    """Where DVC pushes training snapshots to, as `gs://bucket/dvc`; without it a folder in the state folder."""

    influx_url: Address = None
    """InfluxDB 2, as `http://host:port`: reports and predictions are read from there, and a forwarder fills it. Without
    it they are read from the services' own logs."""
    influx_org: str = "mlops"
    """InfluxDB's organisation."""
    influx_bucket: str = "mlops"
    """InfluxDB's bucket; one for all projects."""
    influx_token: SecretStr | None = None
    """A token that may read and write this bucket, and no other."""
    influx_token_file: Path | None = None
    """A file with that token, where it should not be in the environment; read anew at each connection."""
    influx_retention: timedelta | None = None
    """How long the bucket should keep points (ISO 8601, as `P365D`); checked, and set where the token may; without it
    it is left as it is."""

    runs_on: Literal["processes", "kubernetes"] = "processes"
    """Where Dagster's runs are: processes of this machine, or Jobs of the Kubernetes cluster around this process, of
    which each step of a bootstrap or retraining has one of its own. The run launcher is dagster.yaml's."""
    endpoint_manifest: Path | None = None
    """Manifests of a scoring service's Deployment and Service, in which `${project}` and `${name}` stand for the
    project; with it endpoints are Deployments of the cluster around this process, without it processes."""
    dagster_home: Path | None = None
    """A folder with a dagster.yaml of your own, instead of a shipped one."""

    @model_validator(mode="after")
    def _one_token(self) -> Settings:
        if self.influx_url and self.influx_token is None and self.influx_token_file is None:
            raise ValueError(
                "influx_url needs a token: set MLOPS_ASSETS_INFLUX_TOKEN or MLOPS_ASSETS_INFLUX_TOKEN_FILE"
            )
        return self

    @property
    def repository(self) -> Repository:
        """The repository that holds the projects.

        Raises:
            NotReady: when the working directory is in none, and `root` is not set.
        """
        return Repository.at(find_root(self.root))

    @property
    def ledger(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.database_url or f"sqlite:///{self.home / 'ledger.db'}"

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking URI."""
        return self.mlflow_url or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path | None:
        """Where the embedded MLflow keeps artifacts; None: a server decides."""
        return None if self.mlflow_url else self.home / "mlflow" / "artifacts"

    @property
    def lake(self) -> str:
        """Folder or fsspec URL of the lake."""
        return self.lake_url or str(self.home / "lake")

    @property
    def snapshots(self) -> str:
        """Folder or URL that DVC pushes to."""
        return self.dvc_remote or str(self.home / "dvc-remote")

    @property
    def pids(self) -> Path:
        """Where started processes are recorded, so that `down` ends those and no others."""
        return self.home / "pids"

    def project_folder(self, project: str) -> Path:
        """Local state of one project."""
        return self.home / "projects" / project
