"""Find a recipe by H2O AutoML, and fit models by it: the same recipe and rows always give the same model.

AutoML's result is not a model but a recipe, plain JSON: algorithm, parameters, seed. So it can be evaluated on a
hold-out, fitted again on all rows, and fitted again years later. This needs an H2O that repeats fits exactly; tests
show that for each algorithm in `mlops_assets.spec.training.Algorithm`.

All functions here use the cluster that the h2o package is connected to; the caller connects it.
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
"""Our name of each H2O algorithm; H2O's extremely randomized trees are a DRF with another parameter."""

RANKED_BY: dict[Metric, str] = {
    "mae": "MAE",
    "rmse": "RMSE",
    "mse": "MSE",
    "mape": "MAE",
    "median_ae": "MAE",
    "log_loss": "logloss",
    "roc_auc": "AUC",
    # H2O counts errors at the threshold that maximises F1, while we predict the most probable class; log loss measures
    # the quality of the probabilities
    "accuracy": "logloss",
    "balanced_accuracy": "logloss",
    "f1": "logloss",
    "f1_macro": "logloss",
}
"""H2O's metric that ranks models, for each of our metrics; for more than two classes logloss instead of AUC."""

NOT_IN_RECIPE = {
    # names and frames of one run
    "model_id", "training_frame", "validation_frame", "response_column", "ignored_columns",
    # cross-validation, which is not used
    "nfolds", "fold_column", "fold_assignment", "keep_cross_validation_models", "keep_cross_validation_predictions",
    "keep_cross_validation_fold_assignment",
    # early stopping: the number of trees is part of the recipe
    "stopping_rounds", "stopping_metric", "stopping_tolerance", "score_tree_interval", "score_each_iteration",
    "max_runtime_secs",
    # GLM's search for lambda, and values derived from the rows
    "lambda_search", "nlambdas", "lambda_min_ratio", "max_active_predictors", "obj_reg",
    # derived from the target by H2O
    "distribution", "family", "link",
    # used only with calibration
    "calibration_method",
    # a field of the recipe
    "seed",
}  # fmt: skip

LOGGER = logging.getLogger(__name__)


class Recipe(BaseModel):
    """Algorithm and parameters of a model; the same recipe and rows give the same model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    algorithm: Algorithm
    parameters: dict[str, JsonValue]
    """H2O's parameters that differ from its defaults."""
    seed: int
    columns: list[str]
    """The features, in the order of AutoML's frames."""
    target: str
    task: Task


@dataclass(frozen=True)
class Search:
    """The result of AutoML.

    Attributes:
        recipe: recipe of the best model.
        leaderboard: one row per model, best first: `model_id`, H2O's metrics on the leaderboard frame (ranked by the
            first), `training_time_ms` and `algo` (H2O's GBM, XGBoost, DRF, GLM).
        models: number of trained models.
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
    """Let AutoML try `spec.max_models` models, and return the recipe of the best.

    Each frame is strictly later in time than the one before; rows are not shuffled, and there is no cross-validation.

    Args:
        train: rows to fit on; float64 columns, `category` columns, the target (float64, or `category`).
        valid: rows for early stopping and for the choice of lambda.
        leaderboard: rows that rank the models.
        spec: algorithms, number of models, seed.
        target: name of the target column.
        task: regression or classification.
        metric: the project's metric; `RANKED_BY` has the ranking metric for it.
        project: its name, for errors.

    Raises:
        TrainingError: when no model could be trained, or the cluster has ended.
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
    """Fit a model by a recipe.

    Args:
        recipe: algorithm, parameters, seed, columns and target.
        frame: (n, k) rows with the recipe's columns and target, dtypes as for `find_recipe`.
        project: its name, for errors.

    Raises:
        TrainingError: when H2O refuses the fit, or the cluster has ended.
    """
    estimator = _estimator(recipe)
    with _h2o_errors(project, f"fit of {recipe.algorithm}"), uploaded(frame[[*recipe.columns, recipe.target]]) as rows:
        estimator.train(x=recipe.columns, y=recipe.target, training_frame=rows)
    classes = [] if recipe.task == "regression" else [str(name) for name in frame[recipe.target].cat.categories]
    return Fitted(recipe, estimator, classes, project)


class Fitted:
    """A fitted model in the cluster; it ends with the cluster.

    Attributes:
        recipe: the recipe that it was fitted by.
    """

    def __init__(self, recipe: Recipe, model: ModelBase, classes: list[str], project: str) -> None:
        self.recipe, self._model, self._classes, self._project = recipe, model, classes, project

    def predict(self, frame: pd.DataFrame) -> npt.NDArray[np.float64] | pd.DataFrame:
        """Predict n rows.

        Args:
            frame: (n, k) rows with the recipe's columns; a level that was not in the training rows counts as missing.

        Returns:
            Regression: (n,) float64. Classification: (n, classes) probabilities, one column per class, in the order of
            the training target's categories; a class without training rows has probability 0.

        Raises:
            TrainingError: when the cluster has ended.
        """
        with _h2o_errors(self._project, f"prediction by {self.recipe.algorithm}"):
            with uploaded(frame[self.recipe.columns]) as rows:
                predictions = self._model.predict(rows)
                found = _downloaded(predictions.get_frame_data())
                _remove(predictions.frame_id)
            if self.recipe.task == "regression":
                return found["predict"].to_numpy(dtype=np.float64)
            # H2O names the columns of numeric classes p0, p1, ...; their order is that of its domain
            domain = self._model._model_json["output"]["domains"][-1]
        probabilities = found.iloc[:, 1:].set_axis([str(name) for name in domain], axis="columns")
        return probabilities.reindex(columns=self._classes, fill_value=0.0)

    def download(self, folder: Path) -> Path:
        """Write the model as `mojo.zip` into a folder, which is created if necessary, and return the path.

        Raises:
            TrainingError: when the cluster has ended.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (
            _h2o_errors(self._project, f"download of {self.recipe.algorithm}"),
            tempfile.TemporaryDirectory(dir=folder) as temporary,
        ):
            return Path(self._model.download_mojo(path=temporary)).replace(folder / "mojo.zip")

    def variable_importance(self) -> pd.DataFrame:
        """Return the variable importance, greatest first.

        Returns:
            Columns `variable` (for XGBoost and GLM each level of a category has a row, `column.level`),
            `relative_importance`, `scaled_importance` (1 for the first) and `percentage` (the sum is 1); no rows when
            the model uses no column.
        """
        table = self._model._model_json["output"]["variable_importances"]
        names = ["variable", "relative_importance", "scaled_importance", "percentage"]
        if table is None:
            return pd.DataFrame(columns=names)
        return pd.DataFrame(table.cell_values, columns=names)


def genmodel_jar(folder: Path, *, project: str) -> Path:
    """Write H2O's scoring library of the cluster's version into a folder as `genmodel.jar`, and return the path.

    It is downloaded from the cluster, since reading it from the 60,000 entries of h2o.jar takes over a second.

    Raises:
        TrainingError: when the cluster has ended.
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
    messages = events.loc[events["level"] == "ERROR", "message"].astype(str).unique()
    return TrainingError(
        project,
        place,
        f"none of {spec.algorithms} could be trained on {len(train)} rows; H2O says: {' | '.join(messages[-3:])}"[:800],
        "check that the target varies and that there are enough rows, or allow other algorithms under training",
    )


def _ranked_by(metric: Metric, target: pd.Series[Any]) -> str:
    ranked_by = RANKED_BY[metric]
    return "logloss" if ranked_by == "AUC" and target.nunique() > 2 else ranked_by


def _recipe(model: ModelBase, columns: list[str], target: str, task: Task) -> Recipe:
    # `actual` is the value after the training: `ntrees` by early stopping, the chosen method instead of AUTO
    parameters = {
        name: value["actual"]
        for name, value in model.params.items()
        if name not in NOT_IN_RECIPE and value["actual"] is not None and value["actual"] != value["default"]
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
    """Return the best alpha, and all lambdas down to the best one.

    The solver starts at each lambda from the coefficients of the one before, and stops within a tolerance. With the
    best lambda alone, predictions differ by up to 0.003 (bike data); with the same path of lambdas they are the same.
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


def _remove(key: str) -> None:
    import h2o

    h2o.remove(key)


def _downloaded(text: str) -> pd.DataFrame:
    """Return H2O's CSV as a frame; `H2OFrame.as_data_frame` rounds some doubles, and warns that polars is missing."""
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
