"""One project with its resources: the implementation of `mlops_assets.context.ProjectContext`. It needs no Dagster."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.ledger.lease import Lease
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.view import LedgerView
from mlops_assets.resources.clock import Clock
from mlops_assets.resources.compute.h2o import h2o_cluster
from mlops_assets.resources.scoring.deployed import deployed_versions
from mlops_assets.resources.scoring.endpoint import Endpoint
from mlops_assets.resources.scoring.endpoint_deployment import EndpointDeployment
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.resources.settings import Settings
from mlops_assets.resources.storage.lake import Lake
from mlops_assets.resources.storage.run_artifacts import RunArtifacts
from mlops_assets.resources.storage.snapshots import Snapshots
from mlops_assets.resources.telemetry.forwarding import forwarding_backlog
from mlops_assets.resources.telemetry.influx import InfluxPredictions, server_of
from mlops_assets.resources.telemetry.prediction_log import PredictionLog, telemetry_path
from mlops_assets.resources.tracking.registry import Registry
from mlops_assets.resources.tracking.versions import Versions
from mlops_assets.retraining.requests import RunIdentity, TrainingRequest, identify_training_request
from mlops_assets.source.project_source import ProjectSource
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, Window
from mlops_assets.timeline.partitions import partition_key

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ProjectResources:
    """One project and its resources. Each resource is opened when it is first used, and kept.

    Args:
        spec: what the project's `defs.yaml` says.
        settings: where the resources are: by default in one folder of this machine.
    """

    spec: ProjectSpec
    settings: Settings

    @property
    def home(self) -> Path:
        """The state folder, as an absolute path."""
        return self.settings.home.absolute()

    @property
    def projects_folder(self) -> Path:
        """The folder that holds a folder of local state per project."""
        return self.home / "projects"

    @cached_property
    def timeline(self) -> Timeline:
        """The project's windows and due times."""
        return Timeline(self.spec)

    @property
    def folder(self) -> Path:
        """The folder of the project's local state; it is created when it does not exist."""
        path = self.projects_folder / self.spec.name
        path.mkdir(parents=True, exist_ok=True)
        return path

    @cached_property
    def ledger(self) -> Ledger:
        """The store of facts; its tables are created when they do not exist."""
        return Ledger(self.settings.ledger)

    def ledger_view(self) -> LedgerView:
        """Return what the ledger holds about the project now."""
        return self.ledger.view(self.spec.name)

    @cached_property
    def lease(self) -> Lease:
        """The lease on the project's loop."""
        return Lease(self.ledger.database, self.spec.name)

    @cached_property
    def clock(self) -> Clock:
        """The project's clock."""
        return Clock(self.timeline, self.ledger)

    def now(self) -> datetime:
        """Return the project's present time, in UTC."""
        return self.clock.now()

    @cached_property
    def source(self) -> ProjectSource:
        """The project's rows, read by the function that its `defs.yaml` names."""
        return ProjectSource(self.spec, self.timeline)

    @cached_property
    def lake(self) -> Lake:
        """Published windows of rows."""
        return Lake(self.settings.lake)

    @cached_property
    def snapshots(self) -> Snapshots:
        """Training snapshots."""
        return Snapshots(self.spec.name, self.projects_folder / self.spec.name / "dataset", self.settings.snapshots)

    @cached_property
    def registry(self) -> Registry:
        """MLflow's tracking and model registry."""
        return Registry(self.settings.mlflow_uri, self.spec.name, self.settings.mlflow_artifacts)

    @cached_property
    def versions(self) -> Versions:
        """Local copies of model versions."""
        return Versions(self.folder / "versions", self.registry, self.ledger)

    @cached_property
    def prediction_log(self) -> PredictionLog:
        """The prediction log of the scoring service."""
        return PredictionLog(telemetry_path(self.projects_folder, self.spec.name))

    @cached_property
    def telemetry(self) -> PredictionLog | InfluxPredictions:
        """Predictions and requests as reports read them: from InfluxDB if the settings name one, else from the log."""
        log, server = self.prediction_log, server_of(self.settings)
        return log if server is None else InfluxPredictions(server, self.spec.name, lambda: forwarding_backlog(log))

    @cached_property
    def endpoint(self) -> Endpoint:
        """The client of the scoring service: of a process of this machine, or of a Deployment in the cluster."""
        token, manifest = self.settings.client_token_file, self.settings.endpoint_manifest
        if manifest is not None:
            return EndpointDeployment(self.spec, self.projects_folder, manifest, token)
        return EndpointProcess(
            self.spec,
            self.projects_folder,
            self.settings.host,
            token,
            deployed=lambda: deployed_versions(self.spec, self.ledger, self.versions),
        )

    def cluster(self) -> AbstractContextManager[object]:
        """Start H2O for the length of one training."""
        training = self.spec.training
        xgboost = "XGBoost" in training.algorithms
        return h2o_cluster(self.home, self.spec.name, training.memory, xgboost)

    def run_artifacts(self, run_id: str) -> RunArtifacts:
        """Return the files of one run's training."""
        return RunArtifacts(self.folder / "trainings", self.spec.name, run_id)

    def training_request(self, run: RunIdentity) -> TrainingRequest:
        """Return who requested a run's training, and which attempt it is."""
        return identify_training_request(self.ledger_view(), run.run_id, run.job, run.tags, self.spec.name)

    def key(self, window: Window) -> str:
        """Return Dagster's partition key of a window."""
        return partition_key(self.timeline, window.start)

    def published_rows(self, window: Window) -> pd.DataFrame:
        """Return a window's published rows of `raw_data`."""
        return self.lake.read_window(self.spec.name, "raw_data", window.id)

    def labels(self, versions: Mapping[str, str]) -> pd.DataFrame:
        """Return the labels of windows, by window id and data version; an empty frame without any."""
        import pandas as pd

        if not versions:
            keys = ["event_time", *(["entity"] if self.spec.data.entity else []), self.spec.problem.target]
            frame = pd.DataFrame({name: pd.Series(dtype=object) for name in keys})
            frame["event_time"] = pd.to_datetime(frame["event_time"], utc=True).astype("datetime64[ns, UTC]")
            return frame
        return self.lake.read(self.spec.name, "labels", versions)

    @cached_property
    def code_version(self) -> str:
        """The version of the platform, and the commit of the repository that holds the projects, if it has one."""
        version = metadata.version("mlops-assets")
        command = ["git", "rev-parse", "--short=12", "HEAD"]
        found = subprocess.run(command, cwd=self.settings.root, capture_output=True, text=True, check=False)
        return f"{version}+{found.stdout.strip()}" if found.returncode == 0 else version
