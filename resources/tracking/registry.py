"""MLflow's tracking server and model registry, for one project."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets import prediction
from mlops_assets.errors import RegistryError, RegistryUnreachable, translate_errors
from mlops_assets.resources.tracking.artifact_locations import follow_moved_folder

if TYPE_CHECKING:
    import pandas as pd

HTTP_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
"""MLflow retries for some seconds, as long as a restart of the server takes. Its own default is minutes."""
REMEDY = {
    "server": "check the server, and MLOPS_ASSETS_MLFLOW_URL, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; "
    "then run this again",
    "embedded": "check that this address can be reached and written (see MLOPS_ASSETS_HOME), then run this again",
}
MODEL_FILE = Path(prediction.__file__).with_name("model.py")


class Registry:
    """MLflow's tracking server and model registry, for one project.

    Args:
        uri: MLflow's tracking URI.
        project: the project; its registered model and its experiment have its name.
        artifacts: where an embedded MLflow stores artifacts; None: the server decides.
    """

    def __init__(self, uri: str, project: str, artifacts: Path | None = None) -> None:
        self.uri, self.project, self.artifacts = uri, project, artifacts
        self._located = artifacts is None

    @contextmanager
    def connect(self, place: str) -> Iterator[Any]:
        """Yield an `MlflowClient`, and set the process's tracking and registry URIs.

        Args:
            place: what is requested, for the messages of errors.

        Raises:
            RegistryError: MLflow refuses a request of the block.
            RegistryUnreachable: MLflow does not answer.
        """
        for name, value in HTTP_RETRIES.items():
            os.environ.setdefault(name, value)
        import mlflow
        from mlflow.exceptions import MlflowException

        def translate(error: Exception) -> RegistryError:
            away = _is_unreachable(error)
            kind, found = (RegistryUnreachable, "it does not answer") if away else (RegistryError, "it refused")
            remedy = REMEDY["server" if self.uri.startswith("http") else "embedded"]
            return kind(self.project, f"MLflow at {self.uri}, {place}", f"{found}: {error}", remedy)

        with translate_errors({MlflowException: translate, ConnectionError: translate, sqlite3.Error: translate}):
            self._locate()
            mlflow.set_tracking_uri(self.uri)
            mlflow.set_registry_uri(self.uri)
            yield mlflow.MlflowClient(self.uri, self.uri)

    def _locate(self) -> None:
        """Let an embedded MLflow find its artifacts after the state folder has been moved; checked once."""
        database = Path(self.uri.removeprefix("sqlite:///"))
        if self.artifacts is not None and not self._located and database.exists():
            follow_moved_folder(database, self.artifacts, self.project)
            self._located = True

    def ensure_experiment(self) -> str:
        """Create the project's experiment, with its artifact location, if it does not exist; return its name."""
        with self.connect("experiment") as client:
            if client.get_experiment_by_name(self.project) is None:
                location = None if self.artifacts is None else (self.artifacts / self.project).as_uri()
                client.create_experiment(self.project, artifact_location=location)
        return self.project

    def alias(self, name: str) -> int | None:
        """Return the version that an alias points to; None without one."""
        from mlflow.exceptions import MlflowException

        with self.connect(f"alias {name}") as client:
            try:
                return int(client.get_model_version_by_alias(self.project, name).version)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def set_alias(self, name: str, version: int) -> None:
        """Point an alias to a version."""
        with self.connect(f"alias {name}") as client:
            client.set_registered_model_alias(self.project, name, str(version))

    def delete_alias(self, name: str) -> None:
        """Delete an alias."""
        with self.connect(f"alias {name}") as client:
            client.delete_registered_model_alias(self.project, name)

    def log_version(
        self, bundle: Path, signature: Any, example: pd.DataFrame, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> tuple[int, str, str]:
        """Log a model bundle as a model-from-code into the active run, and register it.

        Args:
            bundle: folder of the model's files.
            signature: MLflow's signature of the model.
            example: an input example, which MLflow stores.
            metrics: metrics of the run.
            tags: tags of the model version.

        Returns:
            The version, the id of the run, and the URI of the logged model.
        """
        import mlflow

        with self.connect("log a model") as client:
            mlflow.log_metrics(dict(metrics))
            logged = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(MODEL_FILE),
                artifacts={"bundle": str(bundle)},
                signature=signature,
                input_example=example,
                pip_requirements=["mlops-assets"],
                registered_model_name=self.project,
            )
            version = int(logged.registered_model_version)
            for key, value in tags.items():
                client.set_model_version_tag(self.project, str(version), key, value)
            return version, logged.run_id, logged.model_uri

    def log_dataset(self, dataset: pd.DataFrame, source: str, name: str, digest: str) -> None:
        """Record the training snapshot as the active run's input; its digest is the md5 by which DVC knows it."""
        import mlflow
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.pandas_dataset import PandasDataset

        with self.connect("log a dataset"):
            described = PandasDataset(
                dataset.head(1000), CodeDatasetSource(tags={"dvc": source}), name=name, digest=digest[:36]
            )
            mlflow.log_input(described, context="training")

    def log_run(self, params: Mapping[str, Any], tags: Mapping[str, str], files: Sequence[Path]) -> str:
        """Log parameters, tags and files into the active run, and return its id."""
        import mlflow

        with self.connect("log a run"):
            mlflow.log_params({key: str(value)[:6000] for key, value in params.items()})
            mlflow.set_tags(dict(tags))
            for path in files:
                mlflow.log_artifact(str(path))
            run = mlflow.active_run()
            if run is None:
                raise RegistryError(
                    self.project, "MLflow run", "no run is active", "materialize through a job with the mlflow resource"
                )
            return str(run.info.run_id)

    def download(self, version: int, folder: Path) -> Path:
        """Download the bundle of a version into a folder, and return the bundle's path."""
        import mlflow

        with self.connect(f"version {version}"):
            path = mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{self.project}/{version}", dst_path=str(folder), tracking_uri=self.uri
            )
            return Path(path) / "artifacts" / "bundle"

    def download_file(self, run_id: str, path: str, folder: Path) -> Path:
        """Download one file of a run's artifacts into a folder, and return its path."""
        import mlflow

        with self.connect(f"run {run_id}, artifact {path}"):
            return Path(
                mlflow.artifacts.download_artifacts(
                    run_id=run_id, artifact_path=path, dst_path=str(folder), tracking_uri=self.uri
                )
            )

    def close_run(self, dagster_run_id: str, status: str) -> list[str]:
        """Set the status (FINISHED, FAILED, KILLED) of all MLflow runs of a Dagster run, and return their ids."""
        with self.connect(f"runs of Dagster run {dagster_run_id}") as client:
            experiment = client.get_experiment_by_name(self.project)
            if experiment is None:
                return []
            runs = client.search_runs([experiment.experiment_id], f"tags.dagster_run_id = '{dagster_run_id}'")
            for run in runs:
                client.set_terminated(run.info.run_id, status=status)
            return [run.info.run_id for run in runs]


def _is_unreachable(error: BaseException | None) -> bool:
    """Return whether MLflow sent no response, or only 5xx. It raises one class for all; the cause is its context."""
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import RetryError, Timeout

    while error is not None:
        if isinstance(error, ConnectionError | NoConnection | RetryError | Timeout):
            return True
        error = error.__cause__ or error.__context__
    return False
