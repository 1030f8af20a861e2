"""The projects' scoring services, as Dagster's assets and sensors ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from mlops_assets.resources.scoring.config import ModelRef, ProcessRecord, ServiceConfig
from mlops_assets.resources.scoring.endpoint_deployment import EndpointDeployment
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.resources.scoring.service import ScoringService
from mlops_assets.resources.telemetry.prediction_log import PredictionLog, telemetry_path
from mlops_assets.spec.project import ProjectSpec


class EndpointsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Scoring services, as processes of this machine or Deployments of the cluster, and what they logged."""

    state: str
    """The state folder."""
    host: str = "127.0.0.1"
    client_token_file: str | None = None
    """Holds the token that clients must show; without it none is asked for."""
    manifest: str | None = None
    """Manifests of the services' Deployment and Service; without it they are processes of this machine."""

    def open(self, spec: ProjectSpec) -> ScoringService:
        """A project's service; it outlives what is returned, whose connections are its own."""
        token = None if self.client_token_file is None else Path(self.client_token_file)
        if self.manifest is None:
            return EndpointProcess(spec, Path(self.state), self.host, token)
        return EndpointDeployment(spec, Path(self.state), Path(self.manifest), token)

    @contextmanager
    def of(self, spec: ProjectSpec) -> Iterator[ScoringService]:
        """As `open`, for the length of a context."""
        with self.open(spec) as service:
            yield service

    @contextmanager
    def telemetry(self, project: str) -> Iterator[PredictionLog]:
        """A project's answer log."""
        with PredictionLog(telemetry_path(Path(self.state), project)) as telemetry:
            yield telemetry


__all__ = ["EndpointProcess", "EndpointsResource", "ModelRef", "PredictionLog", "ProcessRecord", "ServiceConfig"]
