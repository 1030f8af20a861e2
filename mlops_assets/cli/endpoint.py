"""`serve endpoint`: a project's scoring service in the foreground, for containers; without Dagster and MLflow."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from prometheus_client import CollectorRegistry

from mlops_assets.errors import LedgerError, NotReady, RegistryError, Unreachable
from mlops_assets.files import write_text
from mlops_assets.ledger.store import Ledger
from mlops_assets.resources.runtime.probes import Probes
from mlops_assets.resources.scoring.config import CONFIG, ServiceConfig, endpoint_folder
from mlops_assets.resources.scoring.deployed import StartVersions, deployed_versions
from mlops_assets.resources.scoring.endpoint_process import service_command
from mlops_assets.resources.settings import Settings
from mlops_assets.resources.tracking.model_download import ModelArtifacts
from mlops_assets.resources.tracking.versions import BundleSource, Versions
from mlops_assets.spec import ProjectSpec
from mlops_assets.waiting import wait_for_server

UNAVAILABLE = (LedgerError, RegistryError, OSError)
"""Errors after which the version to serve is not known. The service then starts with the versions it served last."""

log = logging.getLogger("mlops_assets.serve")


def become_endpoint(spec: ProjectSpec, settings: Settings, host: str, port: int) -> NoReturn:
    """Replace this process with the project's scoring service, with its champion and its shadow.

    When ledger or registry do not answer, the versions that were served last are used. Without those this process waits
    for the servers, and its probes say so.

    Raises:
        LedgerError, RegistryError: when these refuse, and no version that was served before is on this machine.
        ModelError: when the fetched bundle is not the one that was trained.
    """
    try:
        path = configure(spec, settings, host, port)
    except Unreachable as error:
        path = _configured_later(error, lambda: configure(spec, settings, host, port), host, port)
    sys.stdout.flush()
    os.execv(sys.executable, service_command(path))


def _configured_later(first: Unreachable, write_config: Callable[[], Path], host: str, port: int) -> Path:
    """Wait for the servers, write the configuration, and return its path; meanwhile the probes report the error."""
    problem = [str(first)]

    def report(error: Unreachable) -> None:
        problem[0] = str(error)
        log.warning(str(error))

    log.warning(str(first))
    # the first process of a container gets only signals that it handles; the service sets its own handlers
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    with Probes(host, port, lambda: problem[0], CollectorRegistry()):
        return wait_for_server(write_config, report)


def configure(spec: ProjectSpec, settings: Settings, host: str, port: int) -> Path:
    """Write the service's configuration, and return the file's path."""
    state = settings.home.absolute() / "projects"
    path = endpoint_folder(state, spec.name) / CONFIG
    try:
        ledger = Ledger(settings.ledger)
        folder = settings.project_folder(spec.name).absolute() / "versions"
        serve, shadow = deployed_versions(spec, ledger, Versions(folder, _origin(spec, settings), ledger))
    except UNAVAILABLE as error:
        serve, shadow = last_served(path)
        if serve is None:
            raise
        log.warning(
            f"ledger or registry does not answer ({error}); the service starts with the versions that it served last",
            extra={"model_version": serve.version},
        )
    config = ServiceConfig(
        spec=spec,
        state=state,
        serve=serve,
        shadow=shadow,
        host=host,
        port=port,
        client_token_file=settings.client_token_file,
    )
    write_text(path, config.model_dump_json(indent=1))
    return path


def last_served(config: Path) -> StartVersions:
    """Return the champion and the shadow that a service on this state folder served last, if their bundles are here."""
    if not config.exists():
        return None, None
    last = ServiceConfig.model_validate_json(config.read_text())
    serve, shadow = (each if each is not None and each.folder.is_dir() else None for each in (last.serve, last.shadow))
    return serve, shadow


def _origin(spec: ProjectSpec, settings: Settings) -> BundleSource:
    if settings.mlflow_url:
        return ModelArtifacts(settings.mlflow_url, spec.name)
    try:
        from mlops_assets.resources.tracking.registry import Registry
    except ImportError as error:
        raise NotReady(
            spec.name,
            "MLflow",
            "it is embedded, and its package is not installed here",
            "set MLOPS_ASSETS_MLFLOW_URL to a server, or install mlops-assets[platform]",
        ) from error
    return Registry(settings.mlflow_uri, spec.name, settings.mlflow_artifacts)
