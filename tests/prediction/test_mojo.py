from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlops_assets.errors import ModelError
from mlops_assets.prediction.features import FeatureDefinitions
from mlops_assets.prediction.mojo import Mojo, most_probable

if TYPE_CHECKING:
    from fitted_models import Fitted

LEVELS = ["clear", "hail", "rain", "snow"]
DEFINITIONS = FeatureDefinitions(known=["a", "sky", "constant", "b"], levels={"sky": LEVELS})
CLASSES = ["UP", "DOWN", "STILL"]


@pytest.mark.parametrize("algorithm", ["GBM", "XGBoost", "DRF", "GLM"])
def test_mojo_predicts_like_the_cluster(fitted: dict[str, Fitted], algorithm: str) -> None:
    made = fitted[algorithm]
    mojo = Mojo(made.mojo, made.jar, DEFINITIONS)
    found = mojo.predict(made.matrix)
    assert found.probabilities is None
    np.testing.assert_allclose(found.value, made.predictions, rtol=1e-9, atol=1e-9)
    alone = [mojo.predict(made.matrix[[row]]).value[0] for row in range(len(made.matrix))]
    assert found.value.tolist() == alone
    mojo.close()


def test_probabilities_equal_the_clusters_in_the_projects_order(fitted: dict[str, Fitted]) -> None:
    made = fitted["classes"]
    found = Mojo(made.mojo, made.jar, DEFINITIONS, CLASSES).predict(made.matrix)
    assert found.probabilities is not None
    assert list(found.probabilities) == CLASSES
    for name in CLASSES:
        np.testing.assert_allclose(found.probabilities[name], made.predictions[name], rtol=1e-9, atol=1e-9)
    shares = np.column_stack([found.probabilities[name] for name in CLASSES])
    assert found.value.tolist() == [CLASSES[position] for position in shares.argmax(axis=1)]
    assert set(found.value) == set(CLASSES)


def test_unknown_class_has_probability_zero(fitted: dict[str, Fitted]) -> None:
    made = fitted["classes"]
    found = Mojo(made.mojo, made.jar, DEFINITIONS, ["CRASH", *CLASSES]).predict(made.matrix[:3])
    assert found.probabilities is not None
    assert found.probabilities["CRASH"].tolist() == [0.0, 0.0, 0.0]


def test_of_two_equally_probable_classes_the_first_is_predicted() -> None:
    shares = {"UP": np.array([0.5, 0.4]), "DOWN": np.array([0.5, 0.6])}
    assert most_probable(shares).tolist() == ["UP", "DOWN"]


def test_codes_are_mapped_by_level_name_and_unknown_levels_are_missing(fitted: dict[str, Fitted]) -> None:
    made = fitted["GBM"]
    turned = FeatureDefinitions(known=DEFINITIONS.known, levels={"sky": LEVELS[::-1]})
    matrix = made.matrix.copy()
    matrix[:, 1] = 3 - matrix[:, 1]
    there, here = Mojo(made.mojo, made.jar, turned), Mojo(made.mojo, made.jar, DEFINITIONS)
    assert there.predict(matrix).value.tolist() == here.predict(made.matrix).value.tolist()
    hail, missing, rain = (np.array([[0.1, code, 1.0, 0.2]]) for code in (1.0, np.nan, 2.0))
    assert here.predict(hail).value == here.predict(missing).value
    clear = np.array([[0.1, 0.0, 1.0, 0.2]])
    assert here.predict(clear).value != here.predict(rain).value


def test_column_that_was_constant_in_training_has_no_effect(fitted: dict[str, Fitted]) -> None:
    made = fitted["GBM"]
    mojo = Mojo(made.mojo, made.jar, DEFINITIONS)
    changed = made.matrix.copy()
    changed[:, 2] = 1e9
    assert mojo.predict(changed).value.tolist() == mojo.predict(made.matrix).value.tolist()


def test_model_of_other_columns_or_another_task_raises_model_error(fitted: dict[str, Fitted], tmp_path: Path) -> None:
    made, classes = fitted["GBM"], fitted["classes"]
    with pytest.raises(ModelError, match="columns"):
        Mojo(made.mojo, made.jar, FeatureDefinitions(known=["a", "sky"], levels={"sky": LEVELS}))
    with pytest.raises(ModelError, match="category"):
        Mojo(made.mojo, made.jar, FeatureDefinitions(known=["a", "sky", "b"]))
    with pytest.raises(ModelError, match="task"):
        Mojo(made.mojo, made.jar, DEFINITIONS, CLASSES)
    with pytest.raises(ModelError, match="task"):
        Mojo(classes.mojo, classes.jar, DEFINITIONS)
    with pytest.raises(ModelError, match="classes"):
        Mojo(classes.mojo, classes.jar, DEFINITIONS, ["UP", "DOWN"])
    broken = tmp_path / "mojo.zip"
    broken.write_bytes(made.mojo.read_bytes()[:200])
    with pytest.raises(ModelError, match="does not load"):
        Mojo(broken, made.jar, DEFINITIONS)


def test_closed_model_raises_model_error(fitted: dict[str, Fitted]) -> None:
    made = fitted["GBM"]
    mojo = Mojo(made.mojo, made.jar, DEFINITIONS)
    mojo.close()
    with pytest.raises(ModelError, match="closed"):
        mojo.predict(made.matrix)


def test_closed_models_are_freed_in_the_jvm(fitted: dict[str, Fitted]) -> None:
    import jpype

    made = fitted["DRF"]
    Mojo(made.mojo, made.jar, DEFINITIONS).close()
    runtime = jpype.java.lang.Runtime.getRuntime()

    def used() -> int:
        gc.collect()  # what Python has forgotten and not collected yet is held in the JVM, too
        runtime.gc()
        return int(runtime.totalMemory() - runtime.freeMemory())

    before = used()
    for _ in range(20):
        Mojo(made.mojo, made.jar, DEFINITIONS).close()
    kept = [Mojo(made.mojo, made.jar, DEFINITIONS) for _ in range(20)]
    held = used() - before
    for mojo in kept:
        mojo.close()
    assert used() - before < held / 4


def test_concurrent_threads_get_their_own_predictions(fitted: dict[str, Fitted]) -> None:
    made = fitted["XGBoost"]
    mojo = Mojo(made.mojo, made.jar, DEFINITIONS)
    wanted, wrong = mojo.predict(made.matrix).value, []

    def predict_rows(start: int) -> None:
        for row in range(start, len(made.matrix), 4):
            if mojo.predict(made.matrix[[row]]).value[0] != wanted[row]:
                wrong.append(row)

    threads = [threading.Thread(target=predict_rows, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_one_row_takes_less_than_half_a_millisecond(fitted: dict[str, Fitted]) -> None:
    made = fitted["GBM"]
    mojo = Mojo(made.mojo, made.jar, DEFINITIONS)
    taken = []
    for _ in range(300):
        start = time.thread_time()
        mojo.predict(made.matrix[:1])
        taken.append(time.thread_time() - start)
    assert float(np.median(taken)) < 0.0005
