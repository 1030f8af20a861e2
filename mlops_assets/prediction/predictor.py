"""A model version as a folder, and the one class that answers with it: in the service, in MLflow, for the judge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import AwareDatetime, BaseModel, ConfigDict

from mlops_assets.prediction.features import FeatureDefinitions, FeatureMatrix
from mlops_assets.prediction.inputs import Inputs, InputSchema

MANIFEST, FEATURES, RECIPE, MOJO, JAR, REFERENCE, GOLDEN = (
    "manifest.json",
    "features.json",
    "recipe.json",
    "mojo.zip",
    "genmodel.jar",
    "reference.parquet",
    "golden.json",
)


class Origin(BaseModel):
    """Where a version comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    as_of: AwareDatetime
    """The project's time when its dataset was snapped; it may answer events due then or later."""
    trained_through: AwareDatetime
    """End of its newest training row."""
    dataset: str
    """md5 that DVC knows the training snapshot by."""
    dataset_tag: str
    code_version: str
    training: str
    """Id of the training in the ledger."""
    decision: str | None
    """Id of the decision that had it trained."""
    holdout_loss: float


class Manifest(Origin):
    """What a version is; `manifest.json` of its bundle."""

    inputs: InputSchema
    digests: dict[str, str]
    """sha256 of each other file of the bundle."""

    @property
    def digest(self) -> str:
        """sha256 over the digests of all files: the version's identity."""
        raise NotImplementedError


@dataclass(frozen=True)
class Predictions:
    """Answers to n rows."""

    value: npt.NDArray[np.float64] | npt.NDArray[np.object_]
    """Regression: float64; classification: the label (str) of the most probable class."""
    probabilities: dict[str, npt.NDArray[np.float64]] | None
    """Per class, in the order of `InputSchema.classes`; None for regression."""
    features: FeatureMatrix
    """(n, k), in the order of `Predictor.definitions.names`."""
    known_entity: list[bool]
    """False for an entity never seen in training, which was answered with a null history."""


def write_bundle(
    folder: Path,
    origin: Origin,
    schema: InputSchema,
    definitions: FeatureDefinitions,
    recipe: dict[str, Any],
    mojo: Path,
    jar: Path,
    reference: pd.DataFrame,
    examples: Inputs,
) -> Manifest:
    """Write a version's folder whole or not at all (beside, then renamed).

    Args:
        folder: where; must not exist yet.
        origin: where the version comes from.
        schema: what a request holds, `entities` filled in.
        definitions: its features.
        recipe: plain JSON from which the model can be fitted again.
        mojo: the MOJO file, copied.
        jar: the h2o-genmodel.jar that goes with it, copied.
        reference: features and predictions that drift is measured against.
        examples: rows of which 5, evenly spread, become the golden ones.

    Raises:
        ModelError: when the folder exists already, or the model does not answer the examples.
    """
    raise NotImplementedError


class Predictor:
    """A version that answers."""

    manifest: Manifest
    definitions: FeatureDefinitions

    @classmethod
    def load(cls, folder: Path, verify: bool = True) -> Predictor:
        """Load a bundle.

        Raises:
            ModelError: naming the file, when one is absent, unreadable or not the one that was written.
        """
        raise NotImplementedError

    @property
    def schema(self) -> InputSchema:
        """What a request holds."""
        return self.manifest.inputs

    def predict(self, inputs: Inputs) -> Predictions:
        """Answer n rows."""
        raise NotImplementedError

    def check_golden(self) -> None:
        """Answer the golden rows again.

        Raises:
            ModelError: when an answer differs from the recorded one by more than 1e-9.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Release the model."""
        raise NotImplementedError
