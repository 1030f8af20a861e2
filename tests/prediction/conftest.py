from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fitted_models import Fitted

from mlops_assets.modeling.automl import Recipe, fit, genmodel_jar
from mlops_assets.prediction.features import FeatureDefinitions, to_frame
from mlops_assets.resources.compute.h2o import h2o_cluster

ALGORITHMS: dict[str, dict[str, Any]] = {
    "GBM": {"ntrees": 8, "max_depth": 3, "min_rows": 5},
    "XGBoost": {"ntrees": 8, "max_depth": 3},
    "DRF": {"ntrees": 8, "max_depth": 5},
    "GLM": {},
}
CLASSES = ["UP", "DOWN", "STILL"]
DEFINITIONS = FeatureDefinitions(known=["a", "sky", "constant", "b"], levels={"sky": ["clear", "hail", "rain", "snow"]})


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Fitted]]:
    """Return a model of each algorithm for a regression, and of boosted trees for three classes (`classes`)."""
    folder = tmp_path_factory.mktemp("h2o")
    random = np.random.default_rng(1)
    sky = random.integers(0, 3, 300).astype(np.float64)
    matrix = np.column_stack([random.normal(size=300), sky, np.ones(300), random.normal(size=300)])
    matrix[::17, 0] = np.nan
    matrix[::23, 1] = np.nan
    frame = to_frame(DEFINITIONS, matrix)
    # the training rows have all levels except hail and snow, and rows to predict have these too
    frame["sky"] = frame["sky"].where(frame["sky"].isin(["clear", "rain"])).cat.remove_unused_categories()
    signal = np.nan_to_num(matrix[:, 0]) + 2 * (sky == 0) + 0.3 * matrix[:, 3]
    frame["y"] = signal
    frame["move"] = pd.Categorical(np.select([signal > 1, signal < 0], ["UP", "DOWN"], "STILL"), categories=CLASSES)
    made = {}
    with h2o_cluster(folder, "test", "400m"):
        jar = genmodel_jar(folder, project="test")
        for name in [*ALGORITHMS, "classes"]:
            algorithm = "GBM" if name == "classes" else name
            target = "move" if name == "classes" else "y"
            recipe = Recipe(
                algorithm=algorithm,
                parameters=ALGORITHMS[algorithm],
                seed=1,
                columns=DEFINITIONS.names,
                target=target,
                task="classification" if name == "classes" else "regression",
            )
            model = fit(recipe, frame[[*DEFINITIONS.names, target]], project="test")
            made[name] = Fitted(model.download(folder / name), jar, matrix, model.predict(frame[DEFINITIONS.names]))
    yield made
