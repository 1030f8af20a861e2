"""AutoML's recipes: that they give the same model again, wherever and whenever they are followed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from mlops_assets.errors import TrainingError
from mlops_assets.modeling import automl
from mlops_assets.modeling.automl import Fitted, Recipe, Search, find_recipe, fit, genmodel_jar
from mlops_assets.modeling.h2o_frames import uploaded
from mlops_assets.prediction.features import FeatureDefinitions
from mlops_assets.prediction.mojo import Mojo
from mlops_assets.resources.compute.h2o import h2o_cluster
from mlops_assets.spec.problem import Metric
from mlops_assets.spec.training import Algorithm, H2OAutoMLSpec

pytestmark = pytest.mark.xdist_group("h2o")

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
ROWS = 700
LATER = slice(600, ROWS)
SKIES = ["clear", "mist", "storm"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with h2o_cluster(tmp_path_factory.mktemp("state"), "hourly", "600m"):
        yield


@dataclass(frozen=True)
class Case:
    """A small problem in time order."""

    name: str
    task: Any
    metric: Metric
    rows: pd.DataFrame

    @property
    def train(self) -> pd.DataFrame:
        return self.rows.iloc[:400]

    @property
    def later(self) -> pd.DataFrame:
        return self.rows.iloc[LATER]

    def search(self, *algorithms: Algorithm, models: int) -> Search:
        return find_recipe(
            self.train,
            self.rows.iloc[400:500],
            self.rows.iloc[500:600],
            spec=H2OAutoMLSpec(algorithms=list(algorithms), max_models=models, seed=7),
            target="y",
            task=self.task,
            metric=self.metric,
            project="hourly",
        )


def case(name: str) -> Case:
    chance = np.random.default_rng(3)
    hour = np.arange(ROWS, dtype=np.float64) % 24
    temperature = chance.normal(15, 8, ROWS)
    temperature[chance.random(ROWS) < 0.03] = np.nan
    sky = chance.choice(SKIES, ROWS)
    level = (
        20 + 10 * np.sin(hour / 3.8) + np.nan_to_num(temperature) / 3 + 4 * (sky == "clear") + chance.normal(0, 3, ROWS)
    )
    rows = pd.DataFrame(
        {
            "hour": hour,
            "temperature": temperature,
            "sky": pd.Series(sky).mask(chance.random(ROWS) < 0.02).astype(pd.CategoricalDtype(SKIES)),
            "day": pd.Series(level).shift(24).rolling(24, min_periods=1).mean(),
            "noise": chance.normal(0, 1, ROWS),
        }
    )
    if name == "regression":
        return Case(name, "regression", "mae", rows.assign(y=level))
    cuts = [-np.inf, 24, np.inf] if name == "two classes" else [-np.inf, 18, 27, np.inf]
    labels = ["DOWN", "UP"] if name == "two classes" else ["high", "low", "mid"]
    return Case(name, "classification", "accuracy", rows.assign(y=pd.cut(level, cuts, labels=labels, ordered=False)))


CASES = {name: case(name) for name in ("regression", "two classes", "three classes")}


@cache
def searched(name: str, algorithm: Algorithm) -> Search:
    # of two DRF models one has extremely randomized trees
    return CASES[name].search(algorithm, models=2 if name == "regression" else 1)


@cache
def fitted(name: str, algorithm: Algorithm) -> Fitted:
    return fit(searched(name, algorithm).recipe, CASES[name].train, project="hourly")


def by_h2o(model_id: str, rows: pd.DataFrame, task: str) -> np.ndarray[Any, Any]:
    """Return the predictions of a model that AutoML left in the cluster."""
    import h2o

    with uploaded(rows) as frame:
        predicted = automl._downloaded(h2o.get_model(model_id).predict(frame).get_frame_data())
    return predicted["predict"].to_numpy() if task == "regression" else predicted.iloc[:, 1:].to_numpy()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", CASES)
def test_refit_of_the_leader_predicts_the_same_bits(cluster: None, name: str, algorithm: Algorithm) -> None:
    example, found = CASES[name], searched(name, algorithm)
    again = fitted(name, algorithm).predict(example.later)
    expected = by_h2o(found.leaderboard["model_id"][0], example.later, example.task)
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(np.asarray(again), expected)


def test_recipe_gives_the_same_predictions_in_another_jvm(cluster: None, tmp_path: Path) -> None:
    example = CASES["regression"]
    example.rows.to_parquet(tmp_path / "rows.parquet")
    here = []
    for algorithm in ALGORITHMS:
        recipe = searched(example.name, algorithm).recipe
        (tmp_path / f"{algorithm}.json").write_text(recipe.model_dump_json())
        here.append(fitted(example.name, algorithm).predict(example.later))

    conflict = f"""
import sys
from pathlib import Path
import numpy as np, pandas as pd
from mlops_assets.modeling.automl import Recipe, fit
from mlops_assets.resources.compute.h2o import h2o_cluster
folder = Path(sys.argv[1])
rows = pd.read_parquet(folder / "rows.parquet")
recipes = [Recipe.model_validate_json((folder / f"{{name}}.json").read_text()) for name in {list(ALGORITHMS)}]
with h2o_cluster(folder, "elsewhere", "400m"):
    answers = [fit(recipe, rows[:400], project="elsewhere").predict(rows[{LATER.start}:]) for recipe in recipes]
np.save(folder / "answers.npy", np.array(answers))
"""
    subprocess.run([sys.executable, "-c", conflict, str(tmp_path)], check=True, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "answers.npy"), np.array(here))


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "GLM"])
def test_recipe_has_the_number_of_trees_of_early_stopping(cluster: None, algorithm: Algorithm) -> None:
    import h2o

    found = searched("regression", algorithm)
    leader = h2o.get_model(found.leaderboard["model_id"][0])
    requested, scored = leader.params["ntrees"]["input"], leader.scoring_history()["number_of_trees"].max()
    assert found.recipe.parameters.get("ntrees", leader.params["ntrees"]["default"]) == scored < requested


def test_recipe_is_plain_json_without_names_frames_or_stopping(cluster: None) -> None:
    for algorithm in ALGORITHMS:
        recipe = searched("two classes", algorithm).recipe
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
        assert not automl.NOT_IN_RECIPE & set(recipe.parameters)
        assert "AutoML" not in recipe.model_dump_json()
    with pytest.raises(ValidationError, match="algorithm"):
        Recipe.model_validate({**recipe.model_dump(), "algorithm": "DeepLearning"})


def test_leader_is_best_by_the_projects_metric_on_leaderboard_rows(cluster: None) -> None:
    example = CASES["regression"]
    found = example.search("GBM", "DRF", "GLM", models=4)
    ranking = example.rows.iloc[500:600]
    losses = [
        np.abs(by_h2o(model, ranking, "regression") - ranking["y"]).mean() for model in found.leaderboard["model_id"]
    ]
    assert found.models == len(losses) == 4
    assert losses == sorted(losses)
    np.testing.assert_allclose(found.leaderboard["mae"], losses)
    best = fit(found.recipe, example.train, project="hourly").predict(ranking)
    np.testing.assert_allclose(np.abs(np.asarray(best) - ranking["y"]).mean(), losses[0])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ["regression", "two classes"])
def test_mojo_predicts_like_the_cluster(cluster: None, name: str, algorithm: Algorithm, tmp_path: Path) -> None:
    example = CASES[name]
    expected = fitted(name, algorithm).predict(example.later)

    features = example.rows.columns.drop("y")
    definitions = FeatureDefinitions(known=list(features), levels={"sky": SKIES})
    matrix = example.later[features].assign(sky=example.later["sky"].cat.codes.replace(-1, np.nan)).to_numpy(float)
    classes = [] if name == "regression" else list(example.rows["y"].cat.categories)
    model = Mojo(
        fitted(name, algorithm).download(tmp_path), genmodel_jar(tmp_path, project="hourly"), definitions, classes
    )
    predicted = model.predict(matrix)
    found = (
        predicted.value
        if predicted.probabilities is None
        else np.column_stack([predicted.probabilities[c] for c in classes])
    )
    np.testing.assert_allclose(found.astype(float), np.asarray(expected), rtol=1e-12)


def test_numbers_and_categories_reach_h2o_exactly(cluster: None) -> None:
    chance = np.random.default_rng(0)
    size = 500
    sent = pd.DataFrame(
        {
            "b": chance.integers(1, 10_000, size) / 168,
            "a": chance.normal(0, 1, size) * 10.0 ** chance.integers(-300, 300, size),
            "label": pd.Categorical(chance.choice(["01", "1", "1.0", " x", "NA", "nan", 'q"uote', "ü"], size)),
            "whole": chance.integers(-(2**53), 2**53, size).astype(float),
        }
    )
    sent.loc[3, ["a", "b"]] = np.nan
    sent.loc[4, "a"] = np.inf
    sent.loc[5, "label"] = None
    with uploaded(sent) as frame:
        assert frame.types["label"] == "enum"
        kept = automl._downloaded(frame.get_frame_data()).astype({"label": object})
        levels = frame["label"].levels()[0]
    assert sorted(levels) == sorted(sent["label"].cat.categories)
    expected = sent.replace({"a": {np.inf: np.nan}})
    assert list(kept.columns) == list(sent.columns)
    for column in ("a", "b", "whole"):
        np.testing.assert_array_equal(kept[column].to_numpy(float), expected[column].to_numpy(float))
    assert kept["label"].isna().to_list() == sent["label"].isna().to_list()


def test_class_without_training_rows_has_probability_zero(cluster: None) -> None:
    example = CASES["three classes"]
    rows = example.train[example.train["y"] != "mid"]
    shares = fit(searched(example.name, "GBM").recipe, rows, project="hourly").predict(example.later)
    assert isinstance(shares, pd.DataFrame)
    assert list(shares.columns) == ["high", "low", "mid"]
    assert (shares["mid"] == 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_unknown_category_counts_as_missing(cluster: None) -> None:
    example = CASES["regression"]
    model, rows = fitted(example.name, "GBM"), example.later.drop(columns="y")
    unknown = model.predict(rows.assign(sky=pd.Categorical(["aurora"] * len(rows))))
    missing = model.predict(rows.assign(sky=pd.Categorical([None] * len(rows), categories=SKIES)))
    np.testing.assert_array_equal(np.asarray(unknown), np.asarray(missing))


def test_variable_importance_ranks_the_columns_of_the_target_first(cluster: None) -> None:
    table = fitted("regression", "GBM").variable_importance()
    assert table["variable"][0] == "hour"
    assert table["variable"].to_list()[-1] in ("noise", "day")
    assert table["scaled_importance"].is_monotonic_decreasing
    assert table["percentage"].sum() == pytest.approx(1)


def test_rows_without_information_raise_training_error_with_the_reason(cluster: None) -> None:
    example = CASES["regression"]
    constant = Case("constant", "regression", "mae", example.rows.assign(y=1.0))
    with pytest.raises(TrainingError, match=r"\[hourly\] H2O AutoML .at most 1 models.: none of \['GBM'\].*constant"):
        constant.search("GBM", models=1)
    with pytest.raises(TrainingError, match=r"fit of GBM: H2O says: .*constant"):
        fit(searched(example.name, "GBM").recipe, constant.train, project="hourly")


def test_no_frames_are_left_in_the_cluster(cluster: None) -> None:
    import h2o

    def frames() -> set[str]:
        return {frame["frame_id"]["name"] for frame in h2o.frames()["frames"]}

    example = CASES["regression"]
    recipe = searched(example.name, "GBM").recipe
    before = frames()
    fit(recipe, example.train, project="hourly").predict(example.later)
    assert frames() == before


@pytest.mark.usefixtures("cluster")
def test_scoring_library_is_written_once_and_atomically(tmp_path: Path) -> None:
    written = genmodel_jar(tmp_path, project="hourly").stat()
    assert written.st_size > 1_000_000
    assert genmodel_jar(tmp_path, project="hourly").stat().st_mtime_ns == written.st_mtime_ns
    assert [path.name for path in tmp_path.iterdir()] == ["genmodel.jar"]
