"""Naive baselines that a model must beat: seasonal naive and the most frequent class."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from mlops_assets.errors import SpecError
from mlops_assets.evaluation.metrics import Floats, Predicted, Values
from mlops_assets.spec.problem import SeasonalNaiveBaseline
from mlops_assets.spec.project import ProjectSpec
from mlops_assets.timeline import Timeline, Times, as_datetime64


def baseline_predictions(
    spec: ProjectSpec, timeline: Timeline, series: pd.DataFrame, events: pd.DataFrame, *, known_until: datetime
) -> Predicted:
    """Return what the project's naive baseline predicts for events, from values that were known when they were due.

    Args:
        spec: the project.
        timeline: the project's time.
        series: frame (event_time, entity, target); values that became known later are ignored.
        events: frame (event_time, entity).
        known_until: for `majority`: the time at which the model was trained (`as_of`). Labels that became known later
            are not counted, nor labels that became known after an earlier event was due. `seasonal_naive` ignores it.

    Returns:
        The predictions. For classification they have probabilities by Laplace's rule of succession, (count + 1) / (all
        + classes): over the known labels for `majority`, over the one value of the season for `seasonal_naive`.
    """
    if isinstance(spec.problem.baseline, SeasonalNaiveBaseline):
        value = seasonal_naive(timeline, spec, series, events)
        if spec.problem.task == "regression":
            return Predicted(value)
        counts = (value[:, None] == np.array(spec.classes, dtype=object)).astype(float)
        return Predicted(value, _rule_of_succession(counts))
    return _most_frequent_class(spec, timeline, series, events, known_until)


def seasonal_naive(timeline: Timeline, spec: ProjectSpec, series: pd.DataFrame, events: pd.DataFrame) -> Values:
    """Return the target's value exactly one season before each event, of the same entity, if it was known when due.

    Where that value is missing or was not known yet, the value two seasons before is taken, and so on while data exist.
    A season is elapsed time: over a clock change it is the same UTC distance. Where `data.every` is a day, it is a
    number of calendar days.

    Args:
        timeline: the project's time.
        spec: the project; its baseline is seasonal_naive.
        series: frame (event_time, entity, target); values that became known after an event was due are ignored.
        events: frame (event_time, entity).

    Returns:
        (n,) float64 with NaN, or object (class names) with None, where there is no value at all.

    Raises:
        SpecError: when the project's baseline is another one.

    Source: R. J. Hyndman, G. Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., section 5.2.
    """
    baseline, target = spec.problem.baseline, spec.problem.target
    if not isinstance(baseline, SeasonalNaiveBaseline):
        raise SpecError(spec.name, "problem.baseline", f"type {baseline.type} has no season", "use seasonal_naive")
    known = series[series[target].notna()]
    # one value more than rows, so that the index -1 means "no value"
    values = np.array([*known[target], None if spec.problem.task == "classification" else np.nan])
    times, event_times = _times(known), _times(events)
    index = pd.MultiIndex.from_arrays([_entities(spec, known), times])
    entities = _entities(spec, events)
    known_at, due = timeline.known_from(times, target), event_times - np.timedelta64(timeline.horizon)
    found = np.full(len(events), -1)
    open_rows, stamps = np.arange(len(events)), timeline.grid.earlier(event_times, baseline.season)
    while len(known) and (open_rows := open_rows[stamps[open_rows] >= times.min()]).size:
        hits = index.get_indexer(pd.MultiIndex.from_arrays([entities[open_rows], stamps[open_rows]]))
        usable = (hits >= 0) & (known_at[hits] <= due[open_rows])
        found[open_rows[usable]] = hits[usable]
        open_rows, stamps = open_rows[~usable], timeline.grid.earlier(stamps, baseline.season)
    return np.asarray(values[found])


def _most_frequent_class(
    spec: ProjectSpec, timeline: Timeline, series: pd.DataFrame, events: pd.DataFrame, known_until: datetime
) -> Predicted:
    """Return the most frequent class of the labels known when each event was due (of equals, the first by name)."""
    target = spec.problem.target
    known = series[series[target].notna()]
    known_at = timeline.known_from(_times(known), target)
    order = np.argsort(known_at, kind="stable")
    is_class = known[target].astype(str).to_numpy()[order, None] == np.array(spec.classes)
    counts = np.vstack([np.zeros((1, len(spec.classes))), np.cumsum(is_class, axis=0)])
    until = np.minimum(_times(events) - np.timedelta64(timeline.horizon), as_datetime64(known_until))
    seen = counts[np.searchsorted(known_at[order], until, side="right")]
    names = np.array(spec.classes, dtype=object)
    by_name = np.argsort(spec.classes, kind="stable")
    value = names[by_name][np.argmax(seen[:, by_name], axis=1)]
    value[seen.sum(axis=1) == 0] = None
    return Predicted(value, _rule_of_succession(seen))


def _rule_of_succession(counts: Floats) -> Floats:
    return np.asarray((counts + 1) / (counts.sum(axis=1, keepdims=True) + counts.shape[1]), dtype=np.float64)


def _times(frame: pd.DataFrame) -> Times:
    return frame["event_time"].to_numpy(dtype="datetime64[ns]")


def _entities(spec: ProjectSpec, frame: pd.DataFrame) -> Values:
    return frame["entity"].astype(str).to_numpy() if spec.data.entity else np.full(len(frame), "", dtype=object)
