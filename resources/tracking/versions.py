"""Local copies of model versions, checked against their digests; services start from them, also without MLflow."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from mlops_assets.errors import ModelError, NotReady
from mlops_assets.files import creating_folder
from mlops_assets.ledger.store import Ledger
from mlops_assets.prediction.bundle import MANIFEST, Manifest


class BundleSource(Protocol):
    """Provides model bundles: `Registry`, or `ModelArtifacts` in a process without MLflow."""

    @property
    def project(self) -> str:
        """Name of the project."""

    def download(self, version: int, folder: Path) -> Path:
        """Download the bundle of a version into a folder, and return the bundle's path."""


class Versions:
    """The model versions of a project in a local folder.

    Args:
        folder: the folder of the copies.
        registry: provides the bundles.
        ledger: holds the digest that each version had when it was trained.
    """

    def __init__(self, folder: Path, registry: BundleSource, ledger: Ledger) -> None:
        self.folder, self.registry, self.ledger = folder, registry, ledger

    def path(self, version: int) -> Path:
        """Return the folder of a version's bundle; it is downloaded if there is no local copy.

        Raises:
            NotReady: the ledger has no such version.
            ModelError: the downloaded bundle has another digest than the trained one.
        """
        known = self.ledger.view(self.registry.project).versions
        if version not in known:
            raise NotReady(
                self.registry.project,
                f"model version {version}",
                f"the ledger has versions {sorted(known)}",
                "materialize candidate_model first, or name one of these",
            )
        target = self.folder / str(version)
        if not (target / MANIFEST).exists():
            self._fetch(version, known[version].digest, target)
        return target

    def put(self, version: int, bundle: Path) -> None:
        """Store the bundle of a version that was just trained, so that it need not be downloaded."""
        target = self.folder / str(version)
        if not target.exists():
            with creating_folder(target) as copy:
                shutil.copytree(bundle, copy, dirs_exist_ok=True)

    def _fetch(self, version: int, digest: str, target: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            bundle = self.registry.download(version, Path(temporary))
            manifest = Manifest.model_validate_json((bundle / MANIFEST).read_text())
            if manifest.digest != digest:
                raise ModelError(
                    self.registry.project,
                    f"model version {version}",
                    f"the registry's copy has digest {manifest.digest[:12]}, the trained bundle has {digest[:12]}",
                    "do not serve it: restore the artifacts, or retrain",
                )
            bundle.rename(target)
