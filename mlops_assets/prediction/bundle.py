"""The folder format of a model version: its files, manifest, digests and reference predictions.

The folder is the artifact `bundle` of the version's MLflow model, and is read by the scoring service. `bundle_writer`
writes it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from mlops_assets.errors import ModelError
from mlops_assets.prediction.digests import sha256
from mlops_assets.prediction.features import FeatureDefinitions
from mlops_assets.prediction.schema import InputSchema

MANIFEST, FEATURES, RECIPE, MOJO, JAR, REFERENCE_PROFILE, REFERENCE_PREDICTIONS = (
    "manifest.json",
    "features.json",
    "recipe.json",
    "mojo.zip",
    "genmodel.jar",
    "reference.parquet",
    "golden.json",
)
FILES = (FEATURES, RECIPE, MOJO, JAR, REFERENCE_PROFILE, REFERENCE_PREDICTIONS)
"""The files that the manifest holds a digest of."""
TOLERANCE = 1e-9
"""Largest allowed difference from a reference prediction; relative to it where it is above 1."""
M = TypeVar("M", bound=BaseModel)


class ModelLineage(BaseModel):
    """From which data, code and training a version was made."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    as_of: AwareDatetime
    """The project's time when its training snapshot was taken. The version may predict events due then or later."""
    trained_through: AwareDatetime
    """End of its newest training row."""
    dataset: str
    """md5 of the training snapshot in DVC."""
    dataset_tag: str
    code_version: str
    training: str
    """Id of the training in the ledger."""
    decision: str | None
    """Id of the decision that started the training; None for a first training or one by hand."""
    holdout_loss: float


class Manifest(ModelLineage):
    """`manifest.json`: a version's lineage, the schema of its requests, and the digests of its files."""

    inputs: InputSchema
    digests: dict[str, str]
    """sha256 of each other file of the bundle."""

    @property
    def digest(self) -> str:
        """sha256 over the manifest, and so over the digests of all files: the version's identity."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class ReferencePredictions(BaseModel):
    """`golden.json`: a few rows with the predictions that the version made right after its training.

    Wherever the version is loaded it must reproduce them, which shows that the same model runs in the same way.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    records: list[dict[str, Any]]
    """Rows of a request."""
    predictions: list[float | str]
    """One per row: a number in the target's unit, or a class name."""
    probabilities: list[dict[str, float]] | None
    """Per row and class; None for regression."""

    def difference(self, row: int, prediction: float | str, probabilities: dict[str, float] | None) -> str | None:
        """Compare a prediction for one of the rows with the reference.

        Args:
            row: position in `records`.
            prediction: a number or a class name.
            probabilities: per class; None for regression.

        Returns:
            Both values as text when they differ by more than `TOLERANCE`; None when they agree.
        """
        expected = [self.predictions[row], *(self.probabilities[row] if self.probabilities else {}).values()]
        names = list(self.probabilities[row]) if self.probabilities else []
        found = [prediction, *((probabilities or {}).get(name, float("nan")) for name in names)]
        if all(map(_close, expected, found)):
            return None
        return f"predicted {found}, expected {expected}"


def _close(expected: float | str, found: float | str) -> bool:
    if isinstance(expected, str) or isinstance(found, str):
        return expected == found
    return abs(expected - found) <= TOLERANCE * max(1.0, abs(expected))


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a bundle; raise ModelError when it cannot be read."""
    return _read(folder / MANIFEST, Manifest)


def read_input_schema(folder: Path) -> InputSchema:
    """Return the schema of the requests that a bundle's version takes; raise ModelError when it cannot be read."""
    return read_manifest(folder).inputs


def read_definitions(folder: Path) -> FeatureDefinitions:
    """Return the features of a bundle's version; raise ModelError when they cannot be read."""
    return _read(folder / FEATURES, FeatureDefinitions)


def read_reference_predictions(folder: Path) -> ReferencePredictions:
    """Return the reference predictions of a bundle's version; raise ModelError when they cannot be read."""
    return _read(folder / REFERENCE_PREDICTIONS, ReferencePredictions)


def verify_digests(folder: Path, manifest: Manifest) -> None:
    """Compare every file of a bundle with its digest.

    Raises:
        ModelError: naming the first file that is absent or differs from the one that was written.
    """
    absent = sorted(set(FILES) - manifest.digests.keys())
    if absent:
        raise ModelError(
            manifest.inputs.project,
            str(folder / MANIFEST),
            f"it has no digest of {absent}",
            "restore the version's folder from the registry",
        )
    for name, digest in manifest.digests.items():
        path = folder / name
        found = sha256(path) if path.is_file() else "no file"
        if found != digest:
            raise ModelError(
                manifest.inputs.project,
                str(path),
                f"its sha256 is {found}; it was {digest} when the version was trained",
                "restore the version's folder from the registry",
            )


def _read(path: Path, model: type[M]) -> M:
    try:
        return model.model_validate_json(path.read_text())
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise ModelError(
            "-", str(path), f"it cannot be read: {error}", "restore the version's folder from the registry"
        ) from error
