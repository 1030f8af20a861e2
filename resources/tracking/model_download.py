"""Download of model versions from an MLflow server over HTTP, for a scoring service, which has no MLflow installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import httpx

from mlops_assets.errors import RegistryError, RegistryUnreachable, translate_errors

PROXIED = "mlflow-artifacts:"
"""Scheme of artifacts that the server itself serves."""
BUNDLE = "artifacts/bundle"
"""Path of the bundle in a logged model."""
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Seconds."""


class ModelArtifacts:
    """Registered model versions of one project on an MLflow server.

    Credentials are MLflow's own environment variables, `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`.

    Args:
        url: the server's address.
        project: the project; its registered model has its name.
    """

    def __init__(self, url: str, project: str) -> None:
        self.url, self.project = url.rstrip("/"), project

    def download(self, version: int, folder: Path) -> Path:
        """Download the bundle of a version into a folder, and return the bundle's path.

        Raises:
            RegistryError: the server refuses, or does not serve artifacts itself.
            RegistryUnreachable: the server does not answer.
        """
        user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
        auth = (user, password) if user else None
        errors = {httpx.HTTPStatusError: self._refused(version), httpx.HTTPError: self._unreachable(version)}
        with translate_errors(errors), httpx.Client(base_url=self.url, auth=auth, timeout=TIMEOUT) as client:
            root = self._root(client, version)
            self._fetch(client, f"{root}/{BUNDLE}", folder / "bundle")
        if not any((folder / "bundle").iterdir()):
            raise self._error(version, f"the model has no files under {BUNDLE}")
        return folder / "bundle"

    def _error(self, version: int, found: str, kind: type[RegistryError] = RegistryError) -> RegistryError:
        place = f"MLflow at {self.url}, version {version}"
        remedy = "check MLOPS_ASSETS_MLFLOW_URL, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return kind(self.project, place, found, remedy)

    def _refused(self, version: int) -> Callable[[httpx.HTTPStatusError], RegistryError]:
        def translate(error: httpx.HTTPStatusError) -> RegistryError:
            kind = RegistryUnreachable if error.response.status_code >= 500 else RegistryError
            return self._error(version, f"it refused: {error}", kind)

        return translate

    def _unreachable(self, version: int) -> Callable[[httpx.HTTPError], RegistryError]:
        return lambda error: self._error(version, f"it could not be reached: {error!r}", RegistryUnreachable)

    def _root(self, client: httpx.Client, version: int) -> str:
        """Return the path of a version's model among the server's artifacts."""
        identity = {"name": self.project, "version": str(version)}
        source = str(_json(client, "mlflow/model-versions/get", **identity)["model_version"]["source"])
        if source.startswith("models:/"):
            model = _json(client, f"mlflow/logged-models/{source.removeprefix('models:/')}")["model"]
            source = str(model["info"]["artifact_uri"])
        if not source.startswith(PROXIED):
            raise self._error(
                version, f"its artifacts are at {source}, which the server does not serve (--serve-artifacts)"
            )
        return httpx.URL(source).path.strip("/")

    def _fetch(self, client: httpx.Client, path: str, target: Path) -> None:
        target.mkdir(parents=True)
        for entry in _json(client, "mlflow-artifacts/artifacts", path=path).get("files", []):
            name = PurePosixPath(str(entry["path"])).name
            if entry.get("is_dir"):
                self._fetch(client, f"{path}/{name}", target / name)
                continue
            with client.stream("GET", f"/api/2.0/mlflow-artifacts/artifacts/{path}/{name}") as response:
                response.raise_for_status()
                with (target / name).open("wb") as file:
                    for part in response.iter_bytes():
                        file.write(part)


def _json(client: httpx.Client, what: str, **parameters: str) -> dict[str, Any]:
    response = client.get(f"/api/2.0/{what}", params=parameters)
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found
