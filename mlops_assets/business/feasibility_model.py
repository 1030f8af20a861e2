"""The feasibility model: a quick model that is compared with the baseline before AutoML runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_assets.evaluation.baselines import baseline_predictions
from mlops_assets.evaluation.evaluator import Evaluation, Evaluator
from mlops_assets.evaluation.metrics import Predicted
from mlops_assets.evaluation.splits import Mask
from mlops_assets.evaluation.training_data import Target, TrainingData, prepare_training_data
from mlops_assets.ledger.facts import FeasibilityChecked
from mlops_assets.prediction.inputs import Inputs
from mlops_assets.prediction.mojo import most_probable
from mlops_assets.timeline import Timeline


def evaluate_feasibility(
    timeline: Timeline, labelled: pd.DataFrame, *, force: bool = False
) -> tuple[Evaluation, pd.DataFrame]:
    """Evaluate a gradient-boosting model on simple statistics of past values, as a candidate would be evaluated.

    Args:
        timeline: the project's time.
        labelled: all rows whose labels are known now.
        force: continue although the success criterion is missed.

    Returns:
        The evaluation, and the rows of the hold-out for the chart: event_time, label, candidate, baseline.

    Raises:
        TrainingError: there are too few rows to train on, or to evaluate on.
    """
    training_data = prepare_training_data(timeline, labelled, None)
    rows = training_data.split
    events = labelled.iloc[np.flatnonzero(rows.holdout)]
    known_until = timeline.due(events["event_time"].min().to_pydatetime())
    baseline = baseline_predictions(timeline.spec, timeline, labelled, events, known_until=known_until)
    candidate = _quick_model(training_data, timeline)
    labels = training_data.target[rows.holdout]
    evaluator = Evaluator(timeline.spec, training_data.inputs.event_time[rows.holdout], labels, baseline)
    shown = pd.DataFrame(
        {
            "event_time": events["event_time"].to_numpy(),
            "label": labels,
            "candidate": candidate.value,
            "baseline": baseline.value,
        }
    )
    return evaluator.against_baseline(candidate, force=force), shown


def outcome(found: Evaluation, now: datetime, run_id: str) -> FeasibilityChecked:
    """Return the fact for the ledger. A project that was continued by force is recorded as not feasible."""
    return FeasibilityChecked(
        at=now,
        feasible=found.verdict == "PROMOTE" and not found.forced,
        forced=found.forced,
        model_loss=found.candidate_loss,
        baseline_loss=found.baseline_loss,
        run_id=run_id,
    )


def window_statistics(inputs: Inputs) -> npt.NDArray[np.float64]:
    """Return a matrix (rows, features) of simple features.

    These are the known columns (categories as codes), and per column of past values the newest value, and mean,
    standard deviation, minimum and maximum of the whole window and of its newest eighth.
    """
    columns: list[npt.NDArray[np.float64]] = []
    for values in inputs.known.values():
        columns.append(values if values.dtype != object else pd.factorize(values)[0].astype(np.float64))
    for series in inputs.history.values():
        filled = pd.DataFrame(series).ffill(axis=1).bfill(axis=1).to_numpy()
        for part in (filled, filled[:, -max(2, filled.shape[1] // 8) :]):
            columns += [part.mean(axis=1), part.std(axis=1), part.min(axis=1), part.max(axis=1)]
        columns.append(filled[:, -1])
    return np.column_stack(columns)


def _quick_model(training_data: TrainingData, timeline: Timeline) -> Predicted:
    matrix, rows, classes = window_statistics(training_data.inputs), training_data.split, timeline.spec.classes
    parts = [_boosted(matrix, training_data.target, fold.fit, fold.predict, classes) for fold in rows.folds]
    probabilities = [part.probabilities for part in parts if part.probabilities is not None]
    return Predicted(
        np.concatenate([part.value for part in parts]), np.concatenate(probabilities) if probabilities else None
    )


def _boosted(
    matrix: npt.NDArray[np.float64], target: Target, fit: Mask, predict: Mask, classes: Sequence[str]
) -> Predicted:
    """Return the predictions of boosted trees, with class probabilities (rows, classes) for a classification."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    # scikit-learn refuses a column without any value, such as that of a sensor that was installed later
    matrix = np.where(np.isnan(matrix[fit]).all(axis=0), 0.0, matrix)
    fixed = {"random_state": 0, "max_iter": 100, "early_stopping": False}
    if not classes:
        return Predicted(HistGradientBoostingRegressor(**fixed).fit(matrix[fit], target[fit]).predict(matrix[predict]))
    known = target[fit].astype(str)
    if len(set(known)) == 1:
        by_class = pd.DataFrame({known[0]: np.ones(int(predict.sum()))})
    else:
        model = HistGradientBoostingClassifier(**fixed).fit(matrix[fit], known)
        by_class = pd.DataFrame(model.predict_proba(matrix[predict]), columns=model.classes_)
    probabilities = by_class.reindex(columns=list(classes), fill_value=0.0).to_numpy()
    labels = most_probable({str(name): by_class[name].to_numpy() for name in by_class.columns})
    return Predicted(labels, probabilities)
