"""The platform's parts as one resource, and a project's project context: everything its assets work with."""

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

import dagster as dg

from mlops_assets.ledger.lease import Lease
from mlops_assets.ledger.store import Ledger
from mlops_assets.ledger.view import LedgerView
from mlops_assets.resources.clock import Clock
from mlops_assets.resources.compute.h2o import H2OResource
from mlops_assets.resources.scoring.endpoint import Endpoint
from mlops_assets.resources.scoring.endpoints import EndpointsResource
from mlops_assets.resources.settings import ROOT, Settings
from mlops_assets.resources.source import SourceResource
from mlops_assets.resources.storage.lake import Lake
from mlops_assets.resources.storage.lake_resource import LakeResource
from mlops_assets.resources.storage.ledger import LedgerResource
from mlops_assets.resources.storage.run_artifacts import RunArtifacts
from mlops_assets.resources.storage.snapshots import Snapshots, SnapshotsResource
from mlops_assets.resources.telemetry.influx import InfluxPredictions
from mlops_assets.resources.telemetry.influx_resource import InfluxResource
from mlops_assets.resources.telemetry.prediction_log import PredictionLog, telemetry_path
from mlops_assets.resources.tracking.registry import Registry, RegistryResource
from mlops_assets.resources.tracking.versions import Versions
from mlops_assets.retraining.requests import RunIdentity, TrainingRequest, identify_training_request
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, Window

if TYPE_CHECKING:
    import pandas as pd

    from mlops_assets.source.project_source import ProjectSource


@dataclass(frozen=True)
class ProjectResources:
    """One project's resources.

    Args:
        spec: the project.
        platform: where the parts are.
    """

    spec: ProjectSpec
    platform: Platform

    @cached_property
    def timeline(self) -> Timeline:
        """The project's time."""
        return Timeline(self.spec)

    @property
    def folder(self) -> Path:
        """Local state of the project."""
        path = self.platform.projects / self.spec.name
        path.mkdir(parents=True, exist_ok=True)
        return path

    @cached_property
    def ledger(self) -> Ledger:
        """The facts."""
        return self.platform.ledger.open()

    def ledger_view(self) -> LedgerView:
        """What the ledger knows now."""
        return self.ledger.view(self.spec.name)

    @cached_property
    def lease(self) -> Lease:
        """Who carries out the loop."""
        return Lease(self.ledger.database, self.spec.name)

    @cached_property
    def clock(self) -> Clock:
        """The project's clock."""
        return Clock(self.timeline, self.ledger)

    def now(self) -> datetime:
        """The project's time, now."""
        return self.clock.now()

    @cached_property
    def source(self) -> ProjectSource:
        """The project's rows, through its own function."""
        return self.platform.source.of(self.spec)

    @cached_property
    def lake(self) -> Lake:
        """Published windows."""
        return self.platform.lake.open()

    @cached_property
    def snapshots(self) -> Snapshots:
        """Training snapshots."""
        return self.platform.snapshots.of(self.spec.name)

    @cached_property
    def registry(self) -> Registry:
        """MLflow."""
        return self.platform.registry.of(self.spec.name)

    @cached_property
    def versions(self) -> Versions:
        """Local copies of model versions."""
        return Versions(self.folder / "versions", self.registry, self.ledger)

    @cached_property
    def prediction_log(self) -> PredictionLog:
        """The answer log of the service, its first write."""
        return PredictionLog(telemetry_path(self.platform.projects, self.spec.name))

    @cached_property
    def telemetry(self) -> PredictionLog | InfluxPredictions:
        """Answers and requests as reports read them: from InfluxDB where there is one, else from the service's log."""
        return self.platform.influx.reader(self.spec.name, self.prediction_log) or self.prediction_log

    @cached_property
    def endpoint(self) -> Endpoint:
        """The running service."""
        return Endpoint(self.platform.endpoints.open(self.spec), self.ledger, self.versions)

    def cluster(self) -> AbstractContextManager[object]:
        """A running H2O for the length of one training."""
        training = self.spec.training
        return self.platform.h2o.cluster(self.spec.name, training.memory, xgboost="XGBoost" in training.algorithms)

    def run_artifacts(self, run_id: str) -> RunArtifacts:
        """The files of one run's training."""
        return RunArtifacts(self.folder / "trainings", self.spec.name, run_id)

    def training_request(self, run: RunIdentity) -> TrainingRequest:
        """Who asked for a run's training."""
        return identify_training_request(self.ledger_view(), run.run_id, run.job, run.tags, self.spec.name)

    def key(self, window: Window) -> str:
        """Dagster's partition key of a window."""
        return self.timeline.key_of(window.start)

    def published_rows(self, window: Window) -> pd.DataFrame:
        """A window's published rows."""
        return self.lake.read_window(self.spec.name, "raw_data", window.id)

    def labels(self, versions: Mapping[str, str]) -> pd.DataFrame:
        """The labels of windows, in the versions that are meant; an empty frame without any."""
        import pandas as pd

        if not versions:
            keys = ["event_time", *(["entity"] if self.spec.data.entity else []), self.spec.problem.target]
            frame = pd.DataFrame({name: pd.Series(dtype=object) for name in keys})
            frame["event_time"] = pd.to_datetime(frame["event_time"], utc=True).astype("datetime64[ns, UTC]")
            return frame
        return self.lake.read(self.spec.name, "labels", versions)

    @cached_property
    def code_version(self) -> str:
        """The platform's version and, in a checkout, its commit."""
        version = metadata.version("mlops-assets")
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return f"{version}+{found.stdout.strip()}" if found.returncode == 0 else version


class Platform(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Every outside system that the platform works with, each configured by itself."""

    ledger: LedgerResource
    lake: LakeResource
    snapshots: SnapshotsResource
    registry: RegistryResource
    endpoints: EndpointsResource
    influx: InfluxResource
    h2o: H2OResource
    source: SourceResource
    home: str
    """The state folder."""

    @property
    def projects(self) -> Path:
        """A folder per project."""
        return Path(self.home) / "projects"

    def of(self, spec: ProjectSpec) -> ProjectResources:
        """A project's project context."""
        return ProjectResources(spec, self)

    @classmethod
    def configured(cls, settings: Settings) -> Platform:
        """Each part where the settings say; by default everything on this machine, in one folder, nothing to start."""
        home = settings.home.absolute()
        token, artifacts = settings.client_token_file, settings.mlflow_artifacts
        return cls(
            home=str(home),
            ledger=LedgerResource(url=settings.ledger),
            lake=LakeResource(root=settings.lake),
            snapshots=SnapshotsResource(home=str(home), remote=settings.snapshots),
            registry=RegistryResource(uri=settings.mlflow_uri, artifacts=str(artifacts) if artifacts else None),
            endpoints=EndpointsResource(
                state=str(home / "projects"),
                host=settings.host,
                client_token_file=str(token) if token else None,
                manifest=str(settings.endpoint_manifest) if settings.endpoint_manifest else None,
            ),
            influx=InfluxResource(url=settings.influx_url, org=settings.influx_org, bucket=settings.influx_bucket),
            h2o=H2OResource(state=str(home)),
            source=SourceResource(),
        )
