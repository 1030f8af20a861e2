"""Local, digest-checked copies of model versions: the endpoint starts from them, with or without MLflow."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from mlops_assets.errors import ModelError, NotReady
from mlops_assets.files import creating_folder
from mlops_assets.ledger.store import Ledger
from mlops_assets.prediction.predictor import MANIFEST, Manifest


class Origin(Protocol):
    """Where bundles come from: the registry, or what stands for it in a process without MLflow."""

    @property
    def project(self) -> str:
        """Whose versions."""

    def download(self, version: int, folder: Path) -> Path:
        """Fetch the bundle of a version into a folder; the bundle's path."""


class Versions:
    """A project's versions in a local folder.

    Args:
        folder: where copies are kept.
        registry: where they come from.
        ledger: knows the digest that each version had when it was trained.
    """

    def __init__(self, folder: Path, registry: Origin, ledger: Ledger) -> None:
        self.folder, self.registry, self.ledger = folder, registry, ledger

    def path(self, version: int) -> Path:
        """The bundle of a version, fetched if it is not here yet.

        Raises:
            NotReady: when the ledger knows no such version.
            ModelError: when what was fetched is not what was trained.
        """
        known = self.ledger.view(self.registry.project).versions
        if version not in known:
            raise NotReady(
                self.registry.project,
                f"model version {version}",
                f"the ledger knows versions {sorted(known)}",
                "materialize candidate_model first, or name one of these",
            )
        target = self.folder / str(version)
        if not (target / MANIFEST).exists():
            self._fetch(version, known[version].digest, target)
        return target

    def put(self, version: int, bundle: Path) -> None:
        """Keep the bundle that was just trained, so that it need not be fetched."""
        target = self.folder / str(version)
        if not target.exists():
            with creating_folder(target) as copy:
                shutil.copytree(bundle, copy, dirs_exist_ok=True)

    def _fetch(self, version: int, digest: str, target: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as shadow_for:
            bundle = self.registry.download(version, Path(shadow_for))
            manifest = Manifest.model_validate_json((bundle / MANIFEST).read_text())
            if manifest.digest != digest:
                raise ModelError(
                    self.registry.project,
                    f"model version {version}",
                    f"the registry's copy has digest {manifest.digest[:12]}, trained was {digest[:12]}",
                    "do not serve it: restore the artifacts, or retrain",
                )
            bundle.rename(target)
