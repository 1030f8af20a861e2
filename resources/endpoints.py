"""The projects' scoring services, as Dagster's assets and sensors ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from mlops_assets.spec.project import ProjectSpec
from resources.endpoint_process import EndpointProcess
from resources.service_config import ModelRef, ProcessRecord, ServiceConfig
from resources.telemetry import Telemetry, telemetry_path


class EndpointsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Scoring services as local processes, and what they logged."""

    state: str
    """The state folder."""
    host: str = "127.0.0.1"
    client_token_file: str | None = None
    """Holds the token that clients must show; without it none is asked for."""

    @contextmanager
    def of(self, spec: ProjectSpec) -> Iterator[EndpointProcess]:
        """A project's service; the process outlives the context, its connections do not."""
        token = None if self.client_token_file is None else Path(self.client_token_file)
        with EndpointProcess(spec, Path(self.state), self.host, token) as process:
            yield process

    @contextmanager
    def telemetry(self, project: str) -> Iterator[Telemetry]:
        """A project's answer log."""
        with Telemetry(telemetry_path(Path(self.state), project)) as telemetry:
            yield telemetry


__all__ = ["EndpointProcess", "EndpointsResource", "ModelRef", "ProcessRecord", "ServiceConfig", "Telemetry"]
