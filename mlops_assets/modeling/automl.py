"""H2O AutoML finds a recipe; the recipe, plain JSON, gives the same model again from the same rows.

What is kept of a search is not a model but how it was made: algorithm, parameters, seed. So the recipe can be judged on
a hold-out, fitted once more on all rows, and fitted again years later. That holds only where H2O repeats itself
exactly; tests show it for each algorithm in `mlops_assets.spec.training.Algorithm`.

All functions here talk to the cluster that the h2o package is connected to; the caller opens it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, JsonValue

from mlops_assets.errors import TrainingError, translate_errors
from mlops_assets.files import replacing
from mlops_assets.modeling.h2o_frames import uploaded
from mlops_assets.spec.problem import Metric
from mlops_assets.spec.training import Algorithm, H2OAutoMLSpec

if TYPE_CHECKING:
    from h2o.model import ModelBase

Task = Literal["regression", "classification"]

ALGORITHMS: dict[str, Algorithm] = {"gbm": "GBM", "xgboost": "XGBoost", "drf": "DRF", "glm": "GLM"}
"""H2O's names of the algorithms and ours; extremely randomized trees are a DRF with a parameter of their own."""

RANKED_BY: dict[Metric, str] = {
    "mae": "MAE",
    "rmse": "RMSE",
    "mse": "MSE",
    "mape": "MAE",
    "median_ae": "MAE",
    "log_loss": "logloss",
    "roc_auc": "AUC",
    # H2O counts errors at the threshold that maximises F1 on the rows it judges, while our label is the most probable
    # class: what ranks models for that is how good the probabilities are.
    "accuracy": "logloss",
    "balanced_accuracy": "logloss",
    "f1": "logloss",
    "f1_macro": "logloss",
}
"""The leaderboard's metric for each of ours; AUC only for two classes, logloss for more."""

NOT_OF_THE_RECIPE = {
    # names and frames of that one run
    "model_id", "training_frame", "validation_frame", "response_column", "ignored_columns",
    # cross-validation, which is not used
    "nfolds", "fold_column", "fold_assignment", "keep_cross_validation_models", "keep_cross_validation_predictions",
    "keep_cross_validation_fold_assignment",
    # early stopping: the number of trees is as found
    "stopping_rounds", "stopping_metric", "stopping_tolerance", "score_tree_interval", "score_each_iteration",
    "max_runtime_secs",
    # GLM's search for lambda and what it derives from the rows
    "lambda_search", "nlambdas", "lambda_min_ratio", "max_active_predictors", "obj_reg",
    # derived from the target, as H2O does by itself
    "distribution", "family", "link",
    # read only where calibration is switched on
    "calibration_method",
    # kept in a field of its own
    "seed",
}  # fmt: skip

LOGGER = logging.getLogger(__name__)


class Recipe(BaseModel):
    """How a model is made; the same recipe over the same rows gives the same model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    algorithm: Algorithm
    parameters: dict[str, JsonValue]
    """H2O's parameters that differ from its defaults."""
    seed: int
    columns: list[str]
    """The features, in the order that the model was found with."""
    target: str
    task: Task


@dataclass(frozen=True)
class Search:
    """What AutoML found.

    Attributes:
        recipe: of the leader.
        leaderboard: one row a model, best first: `model_id`, H2O's metrics on the leaderboard frame (the first of them
            ranks), `training_time_ms` and `algo` (GBM, XGBoost, DRF, GLM, as H2O says it).
        models: how many were trained.
    """

    recipe: Recipe
    leaderboard: pd.DataFrame
    models: int


def find_recipe(
    train: pd.DataFrame,
    valid: pd.DataFrame,
    leaderboard: pd.DataFrame,
    *,
    spec: H2OAutoMLSpec,
    target: str,
    task: Task,
    metric: Metric,
    project: str,
) -> Search:
    """Let AutoML try `spec.max_models` models and keep the recipe of the best.

    Each frame must be strictly later in time than the one before; nothing is shuffled and there are no folds.

    Args:
        train: rows to fit on; float64 columns, `category` columns, the target (float64, or `category`).
        valid: rows that say when to stop adding trees, and which lambda is best.
        leaderboard: rows that rank the models.
        spec: algorithms, number of models, seed.
        target: name of the target column.
        task: regression or classification.
        metric: the project's metric; `RANKED_BY` says what ranks the models for it.
        project: named in errors.

    Raises:
        TrainingError: if no model could be trained, or the cluster is gone.
    """
    from h2o.automl import H2OAutoML, get_leaderboard

    place = f"H2O AutoML (at most {spec.max_models} models)"
    columns = [name for name in train.columns if name != target]
    search = H2OAutoML(
        nfolds=0,
        include_algos=list(spec.algorithms),
        max_models=spec.max_models,
        seed=spec.seed,
        sort_metric=_ranked_by(metric, train[target]),
        verbosity=None,
    )
    with _h2o_errors(project, place), contextlib.ExitStack() as stack:
        fitting, stopping, ranking = (
            stack.enter_context(uploaded(frame[[*columns, target]])) for frame in (train, valid, leaderboard)
        )
        search.train(x=columns, y=target, training_frame=fitting, validation_frame=stopping, leaderboard_frame=ranking)
        board = _downloaded(get_leaderboard(search, extra_columns=["training_time_ms", "algo"]).get_frame_data())
        if len(board) == 0:
            raise _nothing_trained(project, place, spec, train, _downloaded(search.event_log.get_frame_data()))
        return Search(_recipe(_model(board["model_id"][0]), columns, target, task), board, len(board))


def fit(recipe: Recipe, frame: pd.DataFrame, *, project: str) -> Fitted:
    """Follow a recipe.

    Args:
        recipe: what to make.
        frame: (n, k) rows with the recipe's columns and target, dtypes as for `find_recipe`.
        project: named in errors.

    Raises:
        TrainingError: if H2O refuses, or the cluster is gone.
    """
    estimator = _estimator(recipe)
    with _h2o_errors(project, f"fit of {recipe.algorithm}"), uploaded(frame[[*recipe.columns, recipe.target]]) as rows:
        estimator.train(x=recipe.columns, y=recipe.target, training_frame=rows)
    classes = [] if recipe.task == "regression" else [str(name) for name in frame[recipe.target].cat.categories]
    return Fitted(recipe, estimator, classes, project)


class Fitted:
    """A model in the cluster; it lives as long as the cluster does.

    Attributes:
        recipe: what it was made by.
    """

    def __init__(self, recipe: Recipe, model: ModelBase, classes: list[str], project: str) -> None:
        self.recipe, self._model, self._classes, self._project = recipe, model, classes, project

    def predict(self, frame: pd.DataFrame) -> npt.NDArray[np.float64] | pd.DataFrame:
        """Predict n rows.

        Args:
            frame: (n, k) rows with the recipe's columns; a category never seen in training counts as missing.

        Returns:
            Regression: (n,) float64. Classification: (n, classes) probabilities, one column a class, in the order of
            the training target's categories; a class without training rows has probability 0. The label is the most
            probable class.

        Raises:
            TrainingError: if the cluster is gone.
        """
        with _h2o_errors(self._project, f"prediction by {self.recipe.algorithm}"):
            with uploaded(frame[self.recipe.columns]) as rows:
                answers = self._model.predict(rows)
                found = _downloaded(answers.get_frame_data())
                _forget(answers.frame_id)
            if self.recipe.task == "regression":
                return found["predict"].to_numpy(dtype=np.float64)
            # H2O names the columns of numeric classes p0, p1, ...; their order is that of its domain
            domain = self._model._model_json["output"]["domains"][-1]
        shares = found.iloc[:, 1:].set_axis([str(name) for name in domain], axis="columns")
        return shares.reindex(columns=self._classes, fill_value=0.0)

    def download(self, folder: Path) -> Path:
        """Write the model as `mojo.zip` into a folder (made if need be); H2O's genmodel library scores it.

        Raises:
            TrainingError: if the cluster is gone.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (
            _h2o_errors(self._project, f"download of {self.recipe.algorithm}"),
            tempfile.TemporaryDirectory(dir=folder) as temporary,
        ):
            return Path(self._model.download_mojo(path=temporary)).replace(folder / "mojo.zip")

    def variable_importance(self) -> pd.DataFrame:
        """What the model relies on, most important first.

        Returns:
            Columns `variable` (for XGBoost and GLM a level of a category each has its own row, `column.level`),
            `relative_importance`, `scaled_importance` (1 for the first) and `percentage` (sums up to 1); no rows where
            the model uses no column at all.
        """
        table = self._model._model_json["output"]["variable_importances"]
        names = ["variable", "relative_importance", "scaled_importance", "percentage"]
        if table is None:
            return pd.DataFrame(columns=names)
        return pd.DataFrame(table.cell_values, columns=names)


def genmodel_jar(folder: Path, *, project: str) -> Path:
    """Put H2O's scoring library, the version that belongs to the cluster, into a folder as `genmodel.jar`.

    The cluster gives it in no time; in h2o.jar it is one of 60,000 entries, which zipfile reads for over a second.

    Raises:
        TrainingError: if the cluster is gone.
    """
    import h2o

    path = folder / "genmodel.jar"
    if not path.exists():
        with replacing(path) as temporary, _h2o_errors(project, "download of genmodel.jar"):
            h2o.api("GET /3/h2o-genmodel.jar", save_to=str(temporary))
    return path


def _nothing_trained(
    project: str, place: str, spec: H2OAutoMLSpec, train: pd.DataFrame, events: pd.DataFrame
) -> TrainingError:
    said = events.loc[events["level"] == "ERROR", "message"].astype(str).unique()
    return TrainingError(
        project,
        place,
        f"none of {spec.algorithms} could be trained on {len(train)} rows; H2O says: {' | '.join(said[-3:])}"[:800],
        "see that the target varies and that there are rows enough, or allow other algorithms under training",
    )


def _ranked_by(metric: Metric, target: pd.Series[Any]) -> str:
    ranked_by = RANKED_BY[metric]
    return "logloss" if ranked_by == "AUC" and target.nunique() > 2 else ranked_by


def _recipe(model: ModelBase, columns: list[str], target: str, task: Task) -> Recipe:
    # what is `actual` after the training: `ntrees` as early stopping left it, where AUTO stood the method taken
    parameters = {
        name: value["actual"]
        for name, value in model.params.items()
        if name not in NOT_OF_THE_RECIPE and value["actual"] is not None and value["actual"] != value["default"]
    }
    if model.algo == "glm":
        parameters |= _lambda_path(model._model_json["output"], parameters)
    return Recipe(
        algorithm=ALGORITHMS[model.algo],
        parameters=parameters,
        seed=int(model.params["seed"]["actual"]),
        columns=columns,
        target=target,
        task=task,
    )


def _lambda_path(output: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Alpha as found, and the lambdas down to the one found.

    The solver starts at each lambda from the coefficients of the one before, and stops within a tolerance: with the
    found lambda alone it ends up to 0.003 away (bike data); led down the same path it ends at the same place.
    """
    best = output["lambda_best"]
    return {"alpha": [output["alpha_best"]], "lambda": [value for value in parameters["lambda"] if value >= best]}


def _estimator(recipe: Recipe) -> Any:
    from h2o import estimators

    kind = {
        "GBM": estimators.H2OGradientBoostingEstimator,
        "XGBoost": estimators.H2OXGBoostEstimator,
        "DRF": estimators.H2ORandomForestEstimator,
        "GLM": estimators.H2OGeneralizedLinearEstimator,
    }[recipe.algorithm]
    parameters = {"lambda_" if name == "lambda" else name: value for name, value in recipe.parameters.items()}
    if recipe.algorithm != "GLM":
        parameters["stopping_rounds"] = 0
    return kind(seed=recipe.seed, **parameters)


def _model(model_id: str) -> ModelBase:
    import h2o

    return h2o.get_model(model_id)


def _forget(key: str) -> None:
    import h2o

    h2o.remove(key)


def _downloaded(text: str) -> pd.DataFrame:
    """H2O's CSV as a frame; `H2OFrame.as_data_frame` would round some doubles, and warn that polars is missing."""
    return pd.read_csv(io.StringIO(text), float_precision="round_trip", keep_default_na=False, na_values=[""])


@contextlib.contextmanager
def _h2o_errors(project: str, place: str) -> Iterator[None]:
    """Raise a `TrainingError` that names the place instead of H2O's errors, and log H2O's warnings."""
    from h2o.exceptions import H2OError

    def jvm_ended(error: TrainingError) -> TrainingError:
        return TrainingError(project, place, error.found, error.remedy)

    def refused(error: Exception) -> TrainingError:
        # the server's refusal is an object, and its attribute `msg` is the message
        message = " ".join(getattr(next(iter(error.args), None), "msg", str(error)).split())
        remedy = "check that the rows are suitable for training; the run's log has H2O's stack trace"
        return TrainingError(project, place, f"H2O says: {message[:500]}", remedy)

    errors = {TrainingError: jvm_ended, H2OError: refused, OSError: refused}
    with translate_errors(errors), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        LOGGER.info("[%s] %s: %s", project, place, str(warning.message).strip())
