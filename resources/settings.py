"""The settings: where each part of the platform is. Environment variables `MLOPS_ASSETS_*` override the defaults.

Secrets that another library reads itself are not settings: libpq reads a database's password (`PGPASSWORD` or
`PGPASSFILE`), Google's clients use the application default credentials, and MLflow reads `MLFLOW_TRACKING_USERNAME` and
`MLFLOW_TRACKING_PASSWORD`. Therefore addresses hold no secret and can be shown in the UI.
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
        raise ValueError("the address contains a password; set PGPASSWORD or PGPASSFILE instead")
    return url


Address = Annotated[str | None, AfterValidator(_without_password)]


class Settings(BaseSettings):
    """Where the platform's parts are. Without any setting everything is embedded in one folder."""

    model_config = SettingsConfigDict(
        env_prefix="MLOPS_ASSETS_", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    root: Path | None = None
    """The repository that holds the projects. Default: the nearest folder at or above the working directory that has
    a `dg.toml`, or a `pyproject.toml` with `[tool.dg]`."""
    home: Path = Field(default_factory=lambda given: find_root(given.get("root")) / ".mlops")
    """The state folder. It may be deleted when everything is embedded."""
    client_token_file: Path | None = None
    """A file with the token that clients of an endpoint must send. Default: no token is needed."""
    host: str = "127.0.0.1"
    """The address on which endpoints listen."""

    database_url: Address = None
    """PostgreSQL for the ledger and for Dagster, as `postgresql://user@host:port/name`. Default: SQLite files in the
    state folder. libpq reads the password from `PGPASSWORD`, or from the file that `PGPASSFILE` names."""
    mlflow_url: Address = None
    """An MLflow server, as `http://host:port`. Default: an SQLite file in the state folder. MLflow reads its
    credentials from `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`."""
    lake_url: str | None = None
    """The lake, which holds published windows, as `gs://bucket/lake`. Default: a folder in the state folder. The bucket
    needs object versioning. Credentials are the application default ones (on GKE: Workload Identity)."""
    dvc_remote: str | None = None
    """Where DVC stores training snapshots, as `gs://bucket/dvc`. Default: a folder in the state folder."""

    influx_url: Address = None
    """InfluxDB 2, as `http://host:port`. A forwarder writes predictions and reports to it, and they are read from it.
    Default: they are read from the prediction logs in the state folder."""
    influx_org: str = "mlops"
    """Organisation in InfluxDB."""
    influx_bucket: str = "mlops"
    """Bucket in InfluxDB, one for all projects."""
    influx_token: SecretStr | None = None
    """A token that can read and write this bucket only."""
    influx_token_file: Path | None = None
    """A file with that token, instead of the environment variable. It is read again for each connection."""
    influx_retention: timedelta | None = None
    """How long the bucket keeps points, as `P365D`. It is checked, and set if the token has the right. Default: the
    bucket's retention is not changed."""

    runs_on: Literal["processes", "kubernetes"] = "processes"
    """Where Dagster's runs are executed: in processes of this machine, or in Jobs of the Kubernetes cluster in which
    this process runs. There each step of a bootstrap or retraining has a Job of its own. The run launcher is set in
    dagster.yaml."""
    endpoint_manifest: Path | None = None
    """A file with the manifests of a scoring service's Deployment and Service, in which `${project}` and `${name}` are
    replaced. With it endpoints are Deployments of the Kubernetes cluster in which this process runs. Default:
    endpoints are processes."""
    dagster_home: Path | None = None
    """A folder with your own dagster.yaml. Default: a file that the platform ships."""

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
        """Where the embedded MLflow keeps artifacts; None: the server decides."""
        return None if self.mlflow_url else self.home / "mlflow" / "artifacts"

    @property
    def lake(self) -> str:
        """Folder or fsspec URL of the lake."""
        return self.lake_url or str(self.home / "lake")

    @property
    def snapshots(self) -> str:
        """Folder or URL to which DVC pushes."""
        return self.dvc_remote or str(self.home / "dvc-remote")

    @property
    def pids(self) -> Path:
        """Folder of the records of started processes, which `down` ends."""
        return self.home / "pids"

    def project_folder(self, project: str) -> Path:
        """Return the folder of a project's local state."""
        return self.home / "projects" / project
