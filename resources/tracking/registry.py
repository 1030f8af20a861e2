"""MLflow's tracking server and model registry, for one project."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets import prediction
from mlops_assets.errors import RegistryError, RegistryUnreachable

if TYPE_CHECKING:
    import pandas as pd

IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"}
"""A server that is away is waited for for seconds, as long as a restart takes; MLflow's own default is minutes."""
REMEDY = {
    "server": "look at MLOPS_ASSETS_MLFLOW_URL, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
    "and at the server; then run this again",
    "embedded": "check that this address can be reached and written (see MLOPS_ASSETS_HOME), then run this again",
}
MODEL_FILE = Path(prediction.__file__).with_name("model.py")


class Registry:
    """The tracking server and model registry, as one project sees it.

    Args:
        uri: MLflow's tracking URI.
        project: the project; its registered model and experiment carry its name.
        artifacts: where an embedded registry keeps artifacts; None lets the server decide.
    """

    def __init__(self, uri: str, project: str, artifacts: Path | None = None) -> None:
        self.uri, self.project, self.artifacts = uri, project, artifacts

    @contextmanager
    def translate_errors(self, place: str) -> Iterator[Any]:
        for name, value in IMPATIENT.items():
            os.environ.setdefault(name, value)
        import mlflow
        from mlflow.exceptions import MlflowException

        try:
            mlflow.set_tracking_uri(self.uri)
            mlflow.set_registry_uri(self.uri)
            yield mlflow.MlflowClient(self.uri, self.uri)
        except (MlflowException, ConnectionError) as error:
            kind, what = (RegistryUnreachable, "it does not answer") if _away(error) else (RegistryError, "it refused")
            raise kind(
                self.project,
                f"MLflow at {self.uri}, {place}",
                f"{what}: {error}",
                REMEDY["server" if self.uri.startswith("http") else "embedded"],
            ) from error

    def ensure_experiment(self) -> str:
        """Create the project's experiment, with its artifact location, if it is not there; its name."""
        with self.translate_errors("experiment") as client:
            if client.get_experiment_by_name(self.project) is None:
                location = None if self.artifacts is None else (self.artifacts / self.project).as_uri()
                client.create_experiment(self.project, artifact_location=location)
        return self.project

    def alias(self, name: str) -> int | None:
        """The version that an alias points to; None without one."""
        from mlflow.exceptions import MlflowException

        with self.translate_errors(f"alias {name}") as client:
            try:
                return int(client.get_model_version_by_alias(self.project, name).version)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def set_alias(self, name: str, version: int) -> None:
        """Point an alias to a version."""
        with self.translate_errors(f"alias {name}") as client:
            client.set_registered_model_alias(self.project, name, str(version))

    def delete_alias(self, name: str) -> None:
        """Take an alias away."""
        with self.translate_errors(f"alias {name}") as client:
            client.delete_registered_model_alias(self.project, name)

    def log_version(
        self, bundle: Path, signature: Any, example: pd.DataFrame, metrics: Mapping[str, float], tags: Mapping[str, str]
    ) -> tuple[int, str, str]:
        """Log a bundle as a model-from-code into the active run, and register it.

        Returns:
            version, id of the run, URI of the logged model.
        """
        import mlflow

        with self.translate_errors("log a model") as client:
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
        """Record the training snapshot as the active run's input, named by its DVC md5."""
        import mlflow
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.pandas_dataset import PandasDataset

        with self.translate_errors("log a dataset"):
            described = PandasDataset(
                dataset.head(1000), CodeDatasetSource(tags={"dvc": source}), name=name, digest=digest[:36]
            )
            mlflow.log_input(described, context="training")

    def log_run(self, params: Mapping[str, Any], tags: Mapping[str, str], files: Sequence[Path]) -> str:
        """Parameters, tags and files of the active run; its id."""
        import mlflow

        with self.translate_errors("log a run"):
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
        """Fetch the bundle of a version into a folder; the bundle's path."""
        import mlflow

        with self.translate_errors(f"version {version}"):
            path = mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{self.project}/{version}", dst_path=str(folder), tracking_uri=self.uri
            )
            return Path(path) / "artifacts" / "bundle"

    def download_file(self, run_id: str, path: str, folder: Path) -> Path:
        """Fetch one file of a run's artifacts into a folder."""
        import mlflow

        with self.translate_errors(f"run {run_id}, artifact {path}"):
            return Path(
                mlflow.artifacts.download_artifacts(
                    run_id=run_id, artifact_path=path, dst_path=str(folder), tracking_uri=self.uri
                )
            )

    def close_run(self, dagster_run_id: str, status: str) -> list[str]:
        """Set the status (FINISHED, FAILED, KILLED) of all MLflow runs of a Dagster run; their ids."""
        with self.translate_errors(f"runs of Dagster run {dagster_run_id}") as client:
            experiment = client.get_experiment_by_name(self.project)
            if experiment is None:
                return []
            runs = client.search_runs([experiment.experiment_id], f"tags.dagster_run_id = '{dagster_run_id}'")
            for run in runs:
                client.set_terminated(run.info.run_id, status=status)
            return [run.info.run_id for run in runs]


def _away(error: BaseException | None) -> bool:
    """Whether no answer came, or only 5xx: MLflow raises one class for all and keeps the cause as its context."""
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import RetryError, Timeout

    while error is not None:
        if isinstance(error, ConnectionError | NoConnection | RetryError | Timeout):
            return True
        error = error.__cause__ or error.__context__
    return False
