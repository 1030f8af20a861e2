"""From a dataset to a candidate: inputs, features, recipe, hold-out answers, the final fit. Knows no Dagster."""

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
from mlops_assets.evaluation.training_data import Prepared, Target
from mlops_assets.prediction.features import FeatureDefinitions, FeatureMatrix, to_frame
from mlops_assets.spec import ProjectSpec

if TYPE_CHECKING:
    from mlops_assets.modeling.automl import Fitted, Recipe


@dataclass(frozen=True)
class Candidate:
    """What a training leaves behind.

    Attributes:
        recipe: from which the model can be fitted again.
        leaderboard: what AutoML tried, best first.
        importance: variable importance of the final fit.
        holdout: the strategy's answers to the hold-out, out of sample.
        one_fit: the answers of a single fit, where the strategy walks forward; else None.
        reference: features (and hold-out predictions) that drift is measured against.
        mojo: the final fit.
        jar: the scoring library that goes with it.
        models: how many AutoML tried.
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
    prepared: Prepared,
    definitions: FeatureDefinitions,
    matrix: FeatureMatrix,
    holdout_matrix: FeatureMatrix,
    cluster: Callable[[], AbstractContextManager[object]],
    folder: Path,
) -> Candidate:
    """Find a recipe on rows before the hold-out, answer the hold-out with it, fit it at last on all labelled rows.

    Args:
        spec: the project.
        prepared: its dataset.
        definitions: the features that exist.
        matrix: (n, k) features of all labelled rows, from published data.
        holdout_matrix: (m, k) features of the hold-out rows, from the inputs recorded with the answers.
        cluster: gives a running H2O cluster; everything happens in one JVM.
        folder: where the MOJO and its jar are put.
    """
    from mlops_assets.modeling.automl import find_recipe, fit, genmodel_jar

    problem, rows = spec.problem, prepared.split
    frame = to_frame(definitions, matrix)
    frame[problem.target] = _h2o_target(spec, prepared.target)
    answers = to_frame(definitions, holdout_matrix)
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

        def answered(fold: Fold) -> Predicted:
            fitted = fit(found.recipe, frame[fold.fit], project=spec.name)
            return _side(spec, fitted, answers[fold.answer[rows.holdout]])

        sides = [answered(fold) for fold in rows.folds]
        holdout = _joined(sides)
        one_fit = answered(rows.one_fit) if problem.validation.strategy == "walk_forward" else None
        final = fit(found.recipe, frame[rows.usable], project=spec.name)
        return Candidate(
            recipe=found.recipe,
            leaderboard=found.leaderboard,
            importance=final.variable_importance(),
            holdout=holdout,
            one_fit=one_fit,
            reference=reference_profile(spec, definitions, matrix, prepared, holdout),
            mojo=final.download(folder),
            jar=genmodel_jar(folder, project=spec.name),
            models=found.models,
        )


def reference_profile(
    spec: ProjectSpec, definitions: FeatureDefinitions, matrix: FeatureMatrix, prepared: Prepared, holdout: Predicted
) -> pd.DataFrame:
    """The newest training rows within `monitoring.reference`; `prediction` is out of sample: null before hold-out."""
    times, rows = prepared.times, prepared.split
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


def _side(spec: ProjectSpec, fitted: Fitted, rows: pd.DataFrame) -> Predicted:
    found = fitted.predict(rows)
    if isinstance(found, pd.DataFrame):
        shares = found[spec.classes].to_numpy(dtype=np.float64)
        return Predicted(np.array(spec.classes, dtype=object)[np.argmax(shares, axis=1)], shares)
    return Predicted(np.asarray(found, dtype=np.float64))


def _joined(sides: list[Predicted]) -> Predicted:
    """The answers of consecutive folds as one."""
    shares = [side.probabilities for side in sides if side.probabilities is not None]
    return Predicted(np.concatenate([side.value for side in sides]), np.concatenate(shares) if shares else None)
