"""A model version as a folder, and the one class that answers with it: in the service, in MLflow, for the evaluator."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from mlops_assets.errors import ModelError
from mlops_assets.files import creating_folder
from mlops_assets.prediction.digests import sha256
from mlops_assets.prediction.features import FeatureDefinitions, FeatureMatrix, compute
from mlops_assets.prediction.inputs import Inputs, InputSchema, from_records, to_records
from mlops_assets.prediction.mojo import Mojo

MANIFEST, FEATURES, RECIPE, MOJO, JAR, REFERENCE, GOLDEN = (
    "manifest.json",
    "features.json",
    "recipe.json",
    "mojo.zip",
    "genmodel.jar",
    "reference.parquet",
    "golden.json",
)
GOLDEN_ROWS = 5
TOLERANCE = 1e-9
"""How far an answer to a golden row may lie from the recorded one, relative where that is above 1."""
M = TypeVar("M", bound=BaseModel)


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
        """sha256 over the manifest, and so over the digests of all files: the version's identity."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class Golden(BaseModel):
    """Rows with the answers that the version gave when it was trained; `golden.json` of its bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    records: list[dict[str, Any]]
    """Rows of a request."""
    predictions: list[float | str]
    probabilities: list[dict[str, float]] | None
    """Per row and class; None for regression."""


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

    def to_frame(self) -> pd.DataFrame:
        """The answers as the columns that MLflow gives: `prediction`, and `probability_<class>` for each class."""
        columns = {f"probability_{name}": values for name, values in (self.probabilities or {}).items()}
        return pd.DataFrame({"prediction": self.value, **columns})


class Predictor:
    """A version that answers; made by `Predictor.load`."""

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
            folder: where it lies.
            verify: compare every file with its digest. Without it the files are believed: only for a folder that
                this very process has written or checked.

        Raises:
            ModelError: naming the file, when one is absent, unreadable or not the one that was written.
        """
        manifest = _read(folder / MANIFEST, Manifest)
        if verify:
            verify_digests(folder, manifest)
        predictor = cls(folder, manifest.inputs, _read(folder / FEATURES, FeatureDefinitions))
        predictor._manifest = manifest
        return predictor

    @property
    def manifest(self) -> Manifest:
        """What the version is."""
        if self._manifest is None:
            raise ModelError(self.schema.project, str(self.folder), "it is being written", "load the finished bundle")
        return self._manifest

    def predict(self, inputs: Inputs) -> Predictions:
        """Answer n rows; an entity never seen in training with a null history."""
        known = self._known_entities(inputs)
        if not all(known):
            unknown = ~np.array(known)[:, None]
            history = {name: np.where(unknown, np.nan, values) for name, values in inputs.history.items()}
            inputs = replace(inputs, history=history)
        features = compute(self.definitions, inputs)
        estimates = self._mojo.predict(features)
        return Predictions(estimates.value, estimates.probabilities, features, known)

    def _known_entities(self, inputs: Inputs) -> list[bool]:
        if inputs.entity is None or self._entities is None:
            return [True] * len(inputs)
        return [name in self._entities for name in inputs.entity]

    def check_golden(self) -> None:
        """Answer the golden rows again.

        Raises:
            ModelError: when an answer differs from the recorded one by more than `TOLERANCE`.
        """
        golden = _read(self.folder / GOLDEN, Golden)
        found = _answers(self.predict(from_records(golden.records, self.schema)))
        for number, (wanted, given) in enumerate(zip(_facts(golden), _facts(found), strict=True)):
            if not _same(wanted, given):
                raise ModelError(
                    self.schema.project,
                    f"{self.folder / GOLDEN}, row {number}",
                    f"it answers {given}, and answered {wanted} when it was trained",
                    "do not serve it; train again, or compare the machine it was trained on with this one",
                )

    def close(self) -> None:
        """Release the model."""
        self._mojo.close()


def _facts(golden: Golden) -> list[list[float | str]]:
    shares = golden.probabilities or [{} for _ in golden.predictions]
    return [[value, *share.values()] for value, share in zip(golden.predictions, shares, strict=True)]


def _same(wanted: list[float | str], given: list[float | str]) -> bool:
    def close(one: float | str, other: float | str) -> bool:
        if isinstance(one, str) or isinstance(other, str):
            return one == other
        return abs(one - other) <= TOLERANCE * max(1.0, abs(one))

    return len(wanted) == len(given) and all(map(close, wanted, given))


def inputs_of(folder: Path) -> InputSchema:
    """What the version in a bundle's folder is asked with.

    Raises:
        ModelError: when its manifest cannot be read.
    """
    return _read(folder / MANIFEST, Manifest).inputs


def _read(path: Path, model: type[M]) -> M:
    try:
        return model.model_validate_json(path.read_text())
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise ModelError("-", str(path), f"it cannot be read: {error}", "restore the version's folder") from error


def verify_digests(folder: Path, manifest: Manifest) -> None:
    """Compare every file of a bundle with its digest.

    Raises:
        ModelError: naming the file that is absent or not the one that was written.
    """
    absent = {FEATURES, RECIPE, MOJO, JAR, REFERENCE, GOLDEN} - manifest.digests.keys()
    if absent:
        raise ModelError(
            manifest.inputs.project,
            str(folder / MANIFEST),
            f"it knows no digest of {sorted(absent)}",
            "restore the folder",
        )
    for name, digest in manifest.digests.items():
        path = folder / name
        found = sha256(path) if path.is_file() else "no file"
        if found != digest:
            raise ModelError(
                manifest.inputs.project,
                str(path),
                f"its sha256 is {found}, and was {digest} when the version was trained",
                "restore the version's folder from the registry",
            )


# Writing


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
    if folder.exists():
        raise ModelError(
            schema.project, str(folder), "it exists already; a version never changes", "give another folder"
        )
    if schema.entity and schema.entities is None:
        raise ModelError(
            schema.project, "entities", "the schema does not say which were seen", "fill in schema.entities"
        )
    if not len(examples):
        raise ModelError(
            schema.project, "golden rows", "there is no example to answer", "give rows of the training set"
        )
    with creating_folder(folder) as target:
        shutil.copyfile(mojo, target / MOJO)
        shutil.copyfile(jar, target / JAR)
        (target / FEATURES).write_text(definitions.model_dump_json(indent=1))
        (target / RECIPE).write_text(json.dumps(recipe, indent=1, sort_keys=True))
        reference.to_parquet(target / REFERENCE, index=False)
        (target / GOLDEN).write_text(_golden(target, schema, definitions, examples).model_dump_json(indent=1))
        digests = {name: sha256(target / name) for name in (FEATURES, RECIPE, MOJO, JAR, REFERENCE, GOLDEN)}
        manifest = Manifest(**dict(origin), inputs=schema, digests=digests)
        (target / MANIFEST).write_text(manifest.model_dump_json(indent=1))
    return manifest


def _golden(folder: Path, schema: InputSchema, definitions: FeatureDefinitions, examples: Inputs) -> Golden:
    """Rows and the answers to them, by the model in `folder`; read back from a request, as they will be asked."""
    chosen = np.unique(np.linspace(0, len(examples) - 1, GOLDEN_ROWS).astype(np.int64))
    records = to_records(examples.take(chosen), schema)
    predictor = Predictor(folder, schema, definitions)
    answers = _answers(predictor.predict(from_records(records, schema)))
    predictor.close()
    return answers.model_copy(update={"records": records})


def _answers(predictions: Predictions) -> Golden:
    values = predictions.value.tolist()
    if predictions.probabilities is None:
        if not np.isfinite(np.asarray(predictions.value, dtype=np.float64)).all():
            raise ModelError(
                "-", "golden rows", f"the model answers {values}", "train again: an answer must be a number"
            )
        return Golden(records=[], predictions=values, probabilities=None)
    names = list(predictions.probabilities)
    rows = np.column_stack(list(predictions.probabilities.values())).tolist()
    return Golden(records=[], predictions=values, probabilities=[dict(zip(names, row, strict=True)) for row in rows])
