"""Compare candidate, champion and baseline on the hold-out, from the inputs logged with the predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.evaluation.baselines import baseline_predictions
from mlops_assets.evaluation.evaluator import Evaluation, Evaluator
from mlops_assets.evaluation.metrics import Predicted
from mlops_assets.evaluation.training_data import TrainingData
from mlops_assets.modeling.training_set import Holdout, predicted_in
from mlops_assets.prediction.inputs import Inputs, cut_inputs, without_unknown_classes
from mlops_assets.prediction.predictor import Predictor
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.timeline import Timeline


@dataclass(frozen=True)
class ComparedVersion:
    """A trained version whose predictions for the hold-out are compared with the candidate's.

    Attributes:
        version: its number.
        as_of: when its training snapshot was taken.
        load: loads its model; called only when predictions must be recomputed.
    """

    version: int
    as_of: datetime
    load: Callable[[], Predictor]


def evaluate(
    timeline: Timeline,
    dataset: pd.DataFrame,
    training_data: TrainingData,
    holdout: Holdout,
    candidate: pd.DataFrame,
    champion: ComparedVersion | None,
    *,
    shadow: ComparedVersion | None = None,
    force: bool = False,
) -> tuple[Evaluation, pd.DataFrame]:
    """Compare a candidate with the champion, or without one with the baseline.

    Args:
        timeline: the project's time.
        dataset: the labelled rows.
        training_data: inputs, labels and split of these rows.
        holdout: the unseen rows.
        candidate: its predictions for them, as stored with its version (`holdout_frame`).
        champion: the version that serves; None without one.
        shadow: the version that will run in shadow if the candidate is promoted; None without one.
        force: promote a first model although it misses the success criterion.

    Returns:
        The evaluation, and a frame (event_time, label, candidate, champion if there is one, baseline) for the chart.
    """
    spec = timeline.spec
    stored = candidate.set_index("event_id").loc[holdout.ids].reset_index()
    events = dataset.iloc[holdout.rows]
    labels = training_data.target[holdout.rows]
    known_until = champion.as_of if champion else timeline.due(events["event_time"].min().to_pydatetime())
    baseline = baseline_predictions(spec, timeline, dataset, events, known_until=known_until)
    evaluator = Evaluator(spec, training_data.inputs.event_time[holdout.rows], labels, baseline)
    predicted = predicted_in(spec, stored)
    shown = pd.DataFrame({"event_time": events["event_time"].to_numpy(), "label": labels, "candidate": predicted.value})
    if champion is None:
        evaluation = evaluator.against_baseline(predicted, force=force)
    else:
        served, recomputed = version_predictions(timeline, dataset, holdout, champion)
        one_fit = predicted_in(spec, stored, "one_fit", "one_fit") if "one_fit" in stored else None
        evaluation = evaluator.against_champion(predicted, served, recomputed=recomputed, one_fit=one_fit)
        if shadow is not None:
            shadowed = (
                served
                if shadow.version == champion.version
                else version_predictions(timeline, dataset, holdout, shadow)[0]
            )
            evaluation = replace(evaluation, shadow_loss=evaluator.loss_of(shadowed))
        shown["champion"] = served.value
    shown["baseline"] = baseline.value
    return evaluation, shown


def version_predictions(
    timeline: Timeline, dataset: pd.DataFrame, holdout: Holdout, compared: ComparedVersion
) -> tuple[Predicted, int]:
    """Return a version's predictions for the hold-out, and how many of them were recomputed.

    A prediction is taken from the log where the version made it as champion or shadow; the others are recomputed.
    """
    spec = timeline.spec
    own: dict[str, dict[str, Any]] = {}
    if not holdout.predictions.empty:
        logged = holdout.predictions
        logged = logged[(logged["version"] == compared.version) & (logged["role"] != "ad_hoc")]
        own = {str(row["event_id"]): row for row in logged.to_dict("records")}  # type: ignore[misc]
    missing = np.array([identity not in own for identity in holdout.ids])
    value = np.empty(len(holdout), dtype=np.float64 if spec.problem.task == "regression" else object)
    probabilities = np.full((len(holdout), len(spec.classes)), np.nan) if spec.classes else None
    for position in np.flatnonzero(~missing):
        row = own[holdout.ids[position]]
        value[position] = row["prediction"]
        if probabilities is not None:
            probabilities[position] = [row["probabilities"].get(name, 0.0) for name in spec.classes]
    if missing.any():
        model = compared.load()
        output = model.predict(_inputs_for(model.schema, timeline, dataset, holdout).take(missing))
        model.close()
        value[missing] = output.value
        if probabilities is not None and output.probabilities is not None:
            # a class that was declared after the version was trained is not in its output
            zeros = np.zeros(int(missing.sum()))
            probabilities[missing] = np.column_stack([output.probabilities.get(name, zeros) for name in spec.classes])
    return Predicted(value, probabilities), int(missing.sum())


def _inputs_for(schema: InputSchema, timeline: Timeline, dataset: pd.DataFrame, holdout: Holdout) -> Inputs:
    """Return the hold-out's inputs; for a version with another schema, those of published data as known at due."""
    if schema.accepts_requests_of(InputSchema.of(timeline.spec)):
        return holdout.inputs
    return cut_inputs(timeline, schema, dataset.iloc[holdout.rows], without_unknown_classes(schema, dataset))
