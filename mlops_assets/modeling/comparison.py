"""The evaluation: candidate, champion and baseline on the hold-out, from the inputs recorded with the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from mlops_assets.evaluation.evaluator import Evaluation, Evaluator
from mlops_assets.evaluation.metrics import Predicted, baseline_predictions
from mlops_assets.evaluation.training_data import Prepared
from mlops_assets.modeling.training_set import Holdout, predicted_in
from mlops_assets.prediction.inputs import Inputs, InputSchema, as_known_to, cut_inputs
from mlops_assets.prediction.predictor import Predictor
from mlops_assets.timeline import Timeline


@dataclass(frozen=True)
class ComparedVersion:
    """The champion that a candidate must beat.

    Attributes:
        version: its number.
        as_of: when its data were snapped.
        load: loads its model, where answers must be recomputed.
    """

    version: int
    as_of: datetime
    load: Callable[[], Predictor]


def evaluate(
    timeline: Timeline,
    dataset: pd.DataFrame,
    prepared: Prepared,
    holdout: Holdout,
    candidate: pd.DataFrame,
    champion: ComparedVersion | None,
    *,
    shadow: ComparedVersion | None = None,
    force: bool = False,
) -> tuple[Evaluation, pd.DataFrame]:
    """Judge a candidate.

    Args:
        timeline: the project's time.
        dataset: the labelled rows.
        prepared: the same, cut.
        holdout: the unseen rows.
        candidate: its answers to them, as kept with its version (`holdout_frame`).
        champion: the running one; None without one.
        shadow: who will go on in the shadow of a candidate that is promoted; None for nobody.
        force: a person wants a first model served although it misses the success criterion.

    Returns:
        the evaluation, and a frame (event_time, truth, candidate, champion?, baseline) for the picture.
    """
    spec = timeline.spec
    kept = candidate.set_index("event_id").loc[holdout.ids].reset_index()
    events = dataset.iloc[holdout.rows]
    truth = prepared.target[holdout.rows]
    known_until = champion.as_of if champion else timeline.due(events["event_time"].min().to_pydatetime())
    baseline = baseline_predictions(spec, timeline, dataset, events, known_until=known_until)
    evaluator = Evaluator(spec, prepared.inputs.event_time[holdout.rows], truth, baseline)
    answers = predicted_in(spec, kept)
    shown = pd.DataFrame({"event_time": events["event_time"].to_numpy(), "truth": truth, "candidate": answers.value})
    if champion is None:
        evaluation = evaluator.against_baseline(answers, force=force)
    else:
        rival, recomputed = champion_predictions(timeline, dataset, holdout, champion)
        one_fit = predicted_in(spec, kept, "one_fit", "one_fit") if "one_fit" in kept else None
        evaluation = evaluator.against_champion(answers, rival, recomputed=recomputed, one_fit=one_fit)
        if shadow is not None:
            shadow_predictions = (
                rival
                if shadow.version == champion.version
                else champion_predictions(timeline, dataset, holdout, shadow)[0]
            )
            evaluation = replace(evaluation, shadow_loss=evaluator.loss_of(shadow_predictions.take(evaluator.kept)))
        shown["champion"] = rival.value
    shown["baseline"] = baseline.value
    return evaluation, shown


def champion_predictions(
    timeline: Timeline, dataset: pd.DataFrame, holdout: Holdout, champion: ComparedVersion
) -> tuple[Predicted, int]:
    """What the champion answered to the hold-out, recomputed where another version had answered; for how many rows."""
    spec = timeline.spec
    own: dict[str, dict[str, Any]] = {}
    if not holdout.answers.empty:
        mine = holdout.answers[(holdout.answers["version"] == champion.version) & (holdout.answers["role"] != "ad_hoc")]
        own = {str(row["event_id"]): row for row in mine.to_dict("records")}  # type: ignore[misc]
    missing = np.array([identity not in own for identity in holdout.ids])
    value = np.empty(len(holdout), dtype=np.float64 if spec.problem.task == "regression" else object)
    shares = np.full((len(holdout), len(spec.classes)), np.nan) if spec.classes else None
    for position in np.flatnonzero(~missing):
        row = own[holdout.ids[position]]
        value[position] = row["prediction"]
        if shares is not None:
            shares[position] = [row["probabilities"].get(name, 0.0) for name in spec.classes]
    if missing.any():
        model = champion.load()
        found = model.predict(_asked_with(model.schema, timeline, dataset, holdout).take(missing))
        model.close()
        value[missing] = found.value
        if shares is not None and found.probabilities is not None:
            # a class that was declared later than the version was trained has no share in its answers
            never = np.zeros(int(missing.sum()))
            shares[missing] = np.column_stack([found.probabilities.get(name, never) for name in spec.classes])
    return Predicted(value, shares), int(missing.sum())


def _asked_with(schema: InputSchema, timeline: Timeline, dataset: pd.DataFrame, holdout: Holdout) -> Inputs:
    """The hold-out's inputs; where a version takes other ones, those of published data as known at due."""
    if schema.asks_like(InputSchema.of(timeline.spec)):
        return holdout.inputs
    return cut_inputs(timeline, schema, dataset.iloc[holdout.rows], as_known_to(schema, dataset))
