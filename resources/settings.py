"""The one settings model: which part stands where. Environment variables `MLOPS_ASSETS_*` override the defaults."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Where the platform's parts are; without any setting everything is embedded in one folder."""

    model_config = SettingsConfigDict(env_prefix="MLOPS_ASSETS_", frozen=True, use_attribute_docstrings=True)

    home: Path = ROOT / ".mlops"
    """The state folder; safe to delete."""
    client_token_file: Path | None = None
    """A file with the token that callers of an endpoint must send; without it none is asked for."""
    host: str = "127.0.0.1"
    """The address that endpoints listen on."""

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return f"sqlite:///{self.home / 'ledger.db'}"

    @property
    def mlflow_uri(self) -> str:
        """MLflow's tracking URI."""
        return f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def mlflow_artifacts(self) -> Path:
        """Where the embedded MLflow keeps artifacts."""
        return self.home / "mlflow" / "artifacts"

    @property
    def lake_url(self) -> str:
        """Folder or fsspec URL of the lake."""
        return str(self.home / "lake")

    @property
    def pids(self) -> Path:
        """Where started processes are recorded, so that `down` ends those and no others."""
        return self.home / "pids"

    def project_folder(self, project: str) -> Path:
        """Local state of one project."""
        return self.home / "projects" / project
