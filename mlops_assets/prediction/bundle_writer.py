"""Write a model version's folder: copy the model's files, record reference predictions, and compute digests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.errors import ModelError
from mlops_assets.files import creating_folder
from mlops_assets.prediction.bundle import (
    FEATURES,
    FILES,
    JAR,
    MANIFEST,
    MOJO,
    RECIPE,
    REFERENCE_PREDICTIONS,
    REFERENCE_PROFILE,
    Manifest,
    ModelLineage,
    ReferencePredictions,
)
from mlops_assets.prediction.digests import sha256
from mlops_assets.prediction.features import FeatureDefinitions
from mlops_assets.prediction.inputs import Inputs, from_records, to_records
from mlops_assets.prediction.predictor import Predictor
from mlops_assets.prediction.schema import InputSchema

REFERENCE_ROWS = 5


def write_bundle(
    folder: Path,
    lineage: ModelLineage,
    schema: InputSchema,
    definitions: FeatureDefinitions,
    recipe: dict[str, Any],
    mojo: Path,
    jar: Path,
    reference: pd.DataFrame,
    examples: Inputs,
) -> Manifest:
    """Write a version's folder completely, or not at all.

    Args:
        folder: the folder to create; it must not exist yet.
        lineage: from which data, code and training the version was made.
        schema: the schema of a request, `entities` filled in.
        definitions: its features.
        recipe: plain JSON from which the model can be fitted again.
        mojo: the MOJO file, copied.
        jar: the h2o-genmodel.jar of the same H2O version, copied.
        reference: features and predictions that drift is measured against.
        examples: rows, of which 5, evenly spread, get reference predictions.

    Raises:
        ModelError: when the folder exists already, or the model has no prediction for the examples.
    """
    if folder.exists():
        raise ModelError(
            schema.project, str(folder), "it exists already; a version never changes", "write to another folder"
        )
    if schema.entity and schema.entities is None:
        raise ModelError(
            schema.project,
            "entities",
            "the schema does not list the entities of the training set",
            "fill in `entities`",
        )
    if not len(examples):
        raise ModelError(
            schema.project, "reference predictions", "there is no example row", "pass rows of the training set"
        )
    with creating_folder(folder) as target:
        shutil.copyfile(mojo, target / MOJO)
        shutil.copyfile(jar, target / JAR)
        (target / FEATURES).write_text(definitions.model_dump_json(indent=1))
        (target / RECIPE).write_text(json.dumps(recipe, indent=1, sort_keys=True))
        reference.to_parquet(target / REFERENCE_PROFILE, index=False)
        predictions = _reference_predictions(target, schema, definitions, examples)
        (target / REFERENCE_PREDICTIONS).write_text(predictions.model_dump_json(indent=1))
        digests = {name: sha256(target / name) for name in FILES}
        manifest = Manifest(**dict(lineage), inputs=schema, digests=digests)
        (target / MANIFEST).write_text(manifest.model_dump_json(indent=1))
    return manifest


def _reference_predictions(
    folder: Path, schema: InputSchema, definitions: FeatureDefinitions, examples: Inputs
) -> ReferencePredictions:
    """Return some of the examples with the predictions of the model in `folder`.

    The rows are predicted from their request form, in which they will be sent again.
    """
    chosen = np.unique(np.linspace(0, len(examples) - 1, REFERENCE_ROWS).astype(np.int64))
    records = to_records(examples.take(chosen), schema)
    predictor = Predictor(folder, schema, definitions)
    found = predictor.predict(from_records(records, schema))
    predictor.close()
    values = found.value.tolist()
    if not schema.classes and not np.isfinite(np.asarray(found.value, dtype=np.float64)).all():
        raise ModelError(
            schema.project, "reference predictions", f"the model predicts {values}, not finite numbers", "train again"
        )
    return ReferencePredictions(records=records, predictions=values, probabilities=found.probabilities_by_row())
