from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from mlops_assets.errors import ModelError
from mlops_assets.prediction.bundle import (
    FEATURES,
    JAR,
    MANIFEST,
    MOJO,
    RECIPE,
    REFERENCE_PREDICTIONS,
    REFERENCE_PROFILE,
    Manifest,
    ModelLineage,
)
from mlops_assets.prediction.bundle_writer import write_bundle
from mlops_assets.prediction.features import FeatureDefinitions
from mlops_assets.prediction.inputs import Inputs, from_records, to_records
from mlops_assets.prediction.predictor import Predictor
from mlops_assets.prediction.schema import InputSchema

if TYPE_CHECKING:
    from fitted_models import Fitted

CLASSES = ["UP", "DOWN", "STILL"]
# The models were fitted on columns called a and b: here the features of two histories are given these names' values.
KNOWN: dict[str, Any] = {"a": "float", "sky": "category", "constant": "float", "b": "float"}
LEVELS = ["clear", "hail", "rain", "snow"]
DEFINITIONS = FeatureDefinitions(known=list(KNOWN), levels={"sky": LEVELS})
LINEAGE = ModelLineage(
    as_of=datetime(2011, 4, 2, 4, tzinfo=UTC),
    trained_through=datetime(2011, 4, 2, 4, tzinfo=UTC),
    dataset="0" * 32,
    dataset_tag="rentals-1",
    code_version="abc",
    training="bootstrap:1",
    decision=None,
    holdout_loss=22.5,
)


def schema_of(task: Any = "regression", **changes: Any) -> InputSchema:
    return InputSchema(
        project="rentals",
        task=task,
        target="y",
        classes=CLASSES if task == "classification" else [],
        known=KNOWN,
        nullable=["a", "sky"],
    ).model_copy(update=changes)


def rows_of(made: Fitted) -> Inputs:
    sky = np.array([None if code != code else LEVELS[int(code)] for code in made.matrix[:, 1]], dtype=object)
    times = np.datetime64("2011-03-01", "ns") + np.arange(len(sky)) * np.timedelta64(1, "h")
    columns = {"a": made.matrix[:, 0], "sky": sky, "constant": made.matrix[:, 2], "b": made.matrix[:, 3]}
    return Inputs(times, None, columns, {})


def write(folder: Path, made: Fitted, schema: InputSchema | None = None, **changes: Any) -> Manifest:
    given: dict[str, Any] = {
        "lineage": LINEAGE,
        "schema": schema or schema_of(),
        "definitions": DEFINITIONS,
        "recipe": {"algorithm": "GBM"},
        "mojo": made.mojo,
        "jar": made.jar,
        "reference": pd.DataFrame({"a": [1.0], "prediction": [2.0]}),
        "examples": rows_of(made),
    }
    return write_bundle(folder, **(given | changes))


def test_loaded_bundle_has_its_manifest_and_reproduces_its_predictions(
    fitted: dict[str, Fitted], tmp_path: Path
) -> None:
    made = fitted["GBM"]
    written = write(tmp_path / "bundle", made)
    predictor = Predictor.load(tmp_path / "bundle")
    assert predictor.manifest == written
    assert (predictor.manifest.as_of, predictor.manifest.dataset_tag) == (LINEAGE.as_of, "rentals-1")
    predictor.check_reference_predictions()
    found = predictor.predict(rows_of(made))
    np.testing.assert_allclose(found.value, made.predictions, rtol=1e-9, atol=1e-9)
    assert np.array_equal(found.features, made.matrix, equal_nan=True)
    assert len(json.loads((tmp_path / "bundle" / REFERENCE_PREDICTIONS).read_text())["records"]) == 5


def test_one_row_alone_gets_the_same_bits_as_among_many(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    write(tmp_path / "bundle", fitted["GBM"])
    predictor, inputs = Predictor.load(tmp_path / "bundle"), rows_of(fitted["GBM"])
    many = predictor.predict(inputs).value.tolist()
    records = [json.loads(json.dumps(record)) for record in to_records(inputs, predictor.schema)]
    assert many == [predictor.predict(from_records([record], predictor.schema)).value[0] for record in records]


def test_predictions_of_classes_have_probabilities(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    write(tmp_path / "bundle", fitted["classes"], schema_of("classification"))
    predictor = Predictor.load(tmp_path / "bundle")
    predictor.check_reference_predictions()
    frame = predictor.predict(rows_of(fitted["classes"])).to_frame()
    assert list(frame.columns) == ["prediction", "probability_UP", "probability_DOWN", "probability_STILL"]
    assert set(frame["prediction"]) == set(CLASSES)
    assert np.allclose(frame.drop(columns="prediction").sum(axis=1), 1)


@pytest.mark.parametrize("name", [FEATURES, RECIPE, MOJO, JAR, REFERENCE_PROFILE, REFERENCE_PREDICTIONS])
def test_changed_or_absent_file_raises_model_error_with_its_path(
    fitted: dict[str, Fitted], tmp_path: Path, name: str
) -> None:
    write(tmp_path / "bundle", fitted["GLM"])
    path = tmp_path / "bundle" / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError) as caught:
        Predictor.load(tmp_path / "bundle")
    assert caught.value.place == str(path)
    path.unlink()
    with pytest.raises(ModelError, match="no file") as caught:
        Predictor.load(tmp_path / "bundle")
    assert caught.value.place == str(path)


def test_absent_or_incomplete_manifest_raises_model_error(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    write(tmp_path / "bundle", fitted["GLM"])
    path = tmp_path / "bundle" / MANIFEST
    manifest = json.loads(path.read_text())
    del manifest["digests"][MOJO]
    path.write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"no digest of .*mojo\.zip"):
        Predictor.load(tmp_path / "bundle")
    path.unlink()
    with pytest.raises(ModelError, match=r"manifest\.json"):
        Predictor.load(tmp_path / "bundle")


def test_each_version_has_its_own_digest(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    one, again = write(tmp_path / "one", fitted["GLM"]), write(tmp_path / "again", fitted["GLM"])
    other = write(tmp_path / "other", fitted["GLM"], recipe={"algorithm": "DRF"})
    assert one.digest == again.digest != other.digest
    assert Predictor.load(tmp_path / "one").manifest.digest == one.digest


def test_different_reference_prediction_raises_model_error(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    for name, task in (("GBM", "regression"), ("classes", "classification")):
        write(tmp_path / name, fitted[name], schema_of(task))
        path = tmp_path / name / REFERENCE_PREDICTIONS
        reference = json.loads(path.read_text())
        if task == "regression":
            reference["predictions"][2] += 1e-8
        else:
            reference["probabilities"][2]["UP"] += 1e-8
        path.write_text(json.dumps(reference))
        predictor = Predictor.load(tmp_path / name, verify=False)
        with pytest.raises(ModelError, match="row 2"):
            predictor.check_reference_predictions()


def test_unknown_entity_is_predicted_without_past_values(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    made = fitted["GBM"]
    # the model's column `a` is here the mean of a history of the same name
    schema = schema_of(
        known={"sky": "category", "constant": "float", "b": "float"},
        history=["a"],
        steps=4,
        entity=True,
        entities=["north", "south"],
    )
    renamed = FeatureDefinitions(known=["sky", "constant", "b"], levels={"sky": LEVELS}, calculators={"a": ["mean"]})
    sources = rows_of(made)
    inputs = Inputs(
        sources.event_time,
        ["north"] * len(sources),
        {name: sources.known[name] for name in schema.known},
        {"a": np.repeat(sources.known["a"][:, None], 4, axis=1)},
    )
    mojo = rename_column(made.mojo, tmp_path / "mojo.zip", "a", "a__mean")
    write(tmp_path / "bundle", made, schema, definitions=renamed, mojo=mojo, examples=inputs)
    predictor = Predictor.load(tmp_path / "bundle")
    rows = replace(inputs.take([1, 1, 1]), entity=["north", "west", "south"])
    found = predictor.predict(rows)
    assert found.known_entity == [True, False, True]
    assert np.isnan(found.features[:, 3]).tolist() == [False, True, False]
    empty = replace(rows.take([0]), history={"a": np.full((1, 4), np.nan)})
    assert found.value[1] == predictor.predict(empty).value[0] != found.value[0] == found.value[2]


def rename_column(mojo: Path, target: Path, old: str, new: str) -> Path:
    """Give a column of a MOJO another name."""
    import zipfile

    with zipfile.ZipFile(mojo) as source, zipfile.ZipFile(target, "w") as sink:
        for name in source.namelist():
            content = source.read(name)
            if name == "model.ini":
                content = content.replace(f"\n{old}\n".encode(), f"\n{new}\n".encode())
            sink.writestr(name, content)
    return target


def test_bundle_is_written_completely_or_not_at_all(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    made = fitted["GLM"]
    with pytest.raises(ModelError, match="columns"):
        write(tmp_path / "bundle", made, definitions=FeatureDefinitions(known=["a"]))
    with pytest.raises(ModelError, match="entities"):
        write(tmp_path / "bundle", made, schema_of(entity=True))
    with pytest.raises(ModelError, match="no example"):
        write(tmp_path / "bundle", made, examples=rows_of(made).take([]))
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "bundle", made)
    with pytest.raises(ModelError, match="exists already"):
        write(tmp_path / "bundle", made)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
