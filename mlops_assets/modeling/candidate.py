"""Train a candidate: find a recipe, predict the hold-out, and fit the final model on all labelled rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.evaluation.metrics import Predicted
from mlops_assets.evaluation.splits import Fold, three_frames
from mlops_assets.evaluation.training_data import Target, TrainingData
from mlops_assets.prediction.features import FeatureDefinitions, FeatureMatrix, to_frame
from mlops_assets.prediction.mojo import most_probable
from mlops_assets.spec import ProjectSpec

if TYPE_CHECKING:
    from mlops_assets.modeling.automl import Fitted, Recipe


@dataclass(frozen=True)
class Candidate:
    """The results of a training.

    Attributes:
        recipe: algorithm and parameters, from which the model can be fitted again.
        leaderboard: the models that AutoML tried, best first.
        importance: variable importance of the final fit.
        holdout: out-of-sample predictions for the hold-out, by the validation strategy.
        one_fit: predictions of a single fit for the hold-out, where the strategy walks forward; else None.
        reference: features and hold-out predictions that drift is measured against.
        mojo: file of the final fit.
        jar: the scoring library of the same H2O version.
        models: number of models that AutoML tried.
    """

    recipe: Recipe
    leaderboard: pd.DataFrame
    importance: pd.DataFrame
    holdout: Predicted
    one_fit: Predicted | None
    reference: pd.DataFrame
    mojo: Path
    jar: Path
    models: int


def train_candidate(
    spec: ProjectSpec,
    training_data: TrainingData,
    definitions: FeatureDefinitions,
    matrix: FeatureMatrix,
    holdout_matrix: FeatureMatrix,
    cluster: Callable[[], AbstractContextManager[object]],
    folder: Path,
) -> Candidate:
    """Find a recipe on rows before the hold-out, predict the hold-out with it, and fit it on all labelled rows.

    Args:
        spec: the project.
        training_data: inputs, labels and split of the labelled rows.
        definitions: the selected features.
        matrix: (n, k) features of all labelled rows, from published data.
        holdout_matrix: (m, k) features of the hold-out rows, from the inputs logged with the predictions.
        cluster: starts an H2O cluster; all fits use the same JVM.
        folder: where the MOJO and the scoring library are written.
    """
    from mlops_assets.modeling.automl import find_recipe, fit, genmodel_jar

    problem, rows = spec.problem, training_data.split
    frame = to_frame(definitions, matrix)
    frame[problem.target] = _h2o_target(spec, training_data.target)
    holdout_rows = to_frame(definitions, holdout_matrix)
    fitting, stopping, ranking = three_frames(rows.search)
    with cluster():
        found = find_recipe(
            frame[fitting],
            frame[stopping],
            frame[ranking],
            spec=spec.training,
            target=problem.target,
            task=problem.task,
            metric=problem.metric,
            project=spec.name,
        )

        def predict_fold(fold: Fold) -> Predicted:
            fitted = fit(found.recipe, frame[fold.fit], project=spec.name)
            return _predict(spec, fitted, holdout_rows[fold.predict[rows.holdout]])

        holdout = _concatenate([predict_fold(fold) for fold in rows.folds])
        one_fit = predict_fold(rows.one_fit) if problem.validation.strategy == "walk_forward" else None
        final = fit(found.recipe, frame[rows.usable], project=spec.name)
        return Candidate(
            recipe=found.recipe,
            leaderboard=found.leaderboard,
            importance=final.variable_importance(),
            holdout=holdout,
            one_fit=one_fit,
            reference=reference_profile(spec, definitions, matrix, training_data, holdout),
            mojo=final.download(folder),
            jar=genmodel_jar(folder, project=spec.name),
            models=found.models,
        )


def reference_profile(
    spec: ProjectSpec,
    definitions: FeatureDefinitions,
    matrix: FeatureMatrix,
    training_data: TrainingData,
    holdout: Predicted,
) -> pd.DataFrame:
    """Return the newest training rows within `monitoring.reference`, as the reference for drift.

    Returns:
        frame (event_time, the features, prediction, probability_CLASS...). Predictions are out of sample; rows before
        the hold-out have none.
    """
    times, rows = training_data.times, training_data.split
    newest = times[rows.usable].max()
    chosen: npt.NDArray[np.bool_] = rows.usable & (times > newest - spec.monitoring.reference).to_numpy()
    frame = to_frame(definitions, matrix)
    frame.insert(0, "event_time", times)
    values = np.full(len(times), np.nan if spec.problem.task == "regression" else None, dtype=holdout.value.dtype)
    values[rows.holdout] = holdout.value
    frame["prediction"] = values
    if holdout.probabilities is not None:
        for position, name in enumerate(spec.classes):
            column = np.full(len(times), np.nan)
            column[rows.holdout] = holdout.probabilities[:, position]
            frame[f"probability_{name}"] = column
    return frame[chosen].reset_index(drop=True)


def _h2o_target(spec: ProjectSpec, target: Target) -> pd.Series:
    if spec.problem.task == "regression":
        return pd.Series(target)
    return pd.Series(pd.Categorical(target, categories=spec.classes))


def _predict(spec: ProjectSpec, fitted: Fitted, rows: pd.DataFrame) -> Predicted:
    found = fitted.predict(rows)
    if isinstance(found, pd.DataFrame):
        probabilities = found[spec.classes].to_numpy(dtype=np.float64)
        return Predicted(most_probable(dict(zip(spec.classes, probabilities.T, strict=True))), probabilities)
    return Predicted(np.asarray(found, dtype=np.float64))


def _concatenate(parts: list[Predicted]) -> Predicted:
    """Return the predictions of consecutive folds as one."""
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return Predicted(
        np.concatenate([part.value for part in parts]), np.concatenate(probabilities) if probabilities else None
    )
