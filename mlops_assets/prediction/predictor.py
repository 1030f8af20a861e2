"""`Predictor`: loads a version's bundle and predicts with it; used by the service, by MLflow and by evaluations.

MLflow models that were logged by earlier releases contain a copy of `model.py`, which imports
`mlops_assets.prediction.predictor.Predictor`, `mlops_assets.prediction.inputs.from_records` and
`mlops_assets.errors.InputError`. These names, `Predictor.load(folder)`, `.schema` and `.predict(inputs).to_frame()`
must stay as they are, or MLflow cannot load those versions any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.errors import ModelError
from mlops_assets.prediction.bundle import (
    JAR,
    MOJO,
    REFERENCE_PREDICTIONS,
    Manifest,
    read_definitions,
    read_manifest,
    read_reference_predictions,
    verify_digests,
)
from mlops_assets.prediction.features import FeatureDefinitions, FeatureMatrix, compute
from mlops_assets.prediction.inputs import Inputs, from_records
from mlops_assets.prediction.mojo import Mojo
from mlops_assets.prediction.schema import InputSchema


@dataclass(frozen=True)
class Predictions:
    """Predictions for n rows, with the features that they were computed from."""

    value: npt.NDArray[np.float64] | npt.NDArray[np.object_]
    """(n,) regression: float64, in the target's unit; classification: name (str) of the most probable class."""
    probabilities: dict[str, npt.NDArray[np.float64]] | None
    """Per class, in the order of `InputSchema.classes`; None for regression."""
    features: FeatureMatrix
    """(n, k), in the order of `Predictor.definitions.names`."""
    known_entity: list[bool]
    """False for an entity that was not in the training set; it is predicted without past values."""

    def to_frame(self) -> pd.DataFrame:
        """Return the columns of the MLflow model: `prediction`, and `probability_<class>` for each class."""
        columns = {f"probability_{name}": values for name, values in (self.probabilities or {}).items()}
        return pd.DataFrame({"prediction": self.value, **columns})

    def probabilities_by_row(self) -> list[dict[str, float]] | None:
        """Return the probabilities per row and class; None for regression."""
        if self.probabilities is None:
            return None
        rows = np.column_stack(list(self.probabilities.values())).tolist()
        return [dict(zip(self.probabilities, row, strict=True)) for row in rows]


class Predictor:
    """A loaded version; made by `Predictor.load`."""

    def __init__(self, folder: Path, schema: InputSchema, definitions: FeatureDefinitions) -> None:
        """Load the model of a bundle whose other files were read already.

        Raises:
            ModelError: when it does not load, or does not fit schema and definitions.
        """
        self.folder, self.schema, self.definitions = folder, schema, definitions
        self._manifest: Manifest | None = None
        self._entities = None if schema.entities is None else frozenset(schema.entities)
        self._mojo = Mojo(folder / MOJO, folder / JAR, definitions, schema.classes)

    @classmethod
    def load(cls, folder: Path, verify: bool = True) -> Predictor:
        """Load a bundle.

        Args:
            folder: the bundle.
            verify: compare every file with its digest. Set it to False only for a folder that this process has written
                or verified before.

        Raises:
            ModelError: naming the file, when one is absent, unreadable or differs from the one that was written.
        """
        manifest = read_manifest(folder)
        if verify:
            verify_digests(folder, manifest)
        predictor = cls(folder, manifest.inputs, read_definitions(folder))
        predictor._manifest = manifest
        return predictor

    @property
    def manifest(self) -> Manifest:
        """The version's lineage, input schema and digests."""
        if self._manifest is None:
            raise ModelError(
                self.schema.project, str(self.folder), "the bundle has no manifest yet", "load the finished bundle"
            )
        return self._manifest

    def predict(self, inputs: Inputs) -> Predictions:
        """Predict n rows. Past values of an entity that was not in the training set are ignored."""
        known = self._known_entities(inputs)
        if not all(known):
            unknown = ~np.array(known)[:, None]
            history = {name: np.where(unknown, np.nan, values) for name, values in inputs.history.items()}
            inputs = replace(inputs, history=history)
        features = compute(self.definitions, inputs)
        output = self._mojo.predict(features)
        return Predictions(output.value, output.probabilities, features, known)

    def _known_entities(self, inputs: Inputs) -> list[bool]:
        if inputs.entity is None or self._entities is None:
            return [True] * len(inputs)
        return [name in self._entities for name in inputs.entity]

    def check_reference_predictions(self) -> None:
        """Predict the reference rows again.

        Raises:
            ModelError: when a prediction differs from the reference by more than the tolerance.
        """
        reference = read_reference_predictions(self.folder)
        found = self.predict(from_records(reference.records, self.schema))
        probabilities = found.probabilities_by_row()
        for row, value in enumerate(found.value.tolist()):
            difference = reference.difference(row, value, None if probabilities is None else probabilities[row])
            if difference is not None:
                raise ModelError(
                    self.schema.project,
                    f"{self.folder / REFERENCE_PREDICTIONS}, row {row}",
                    difference,
                    "do not serve this version; train again, or compare this machine with the one it was trained on",
                )

    def close(self) -> None:
        """Release the model; it cannot predict any more."""
        self._mojo.close()
