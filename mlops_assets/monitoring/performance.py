"""Compares the loss of the served version with that of the shadow and of the baseline, over the same events."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict

import numpy as np
import pandas as pd

from mlops_assets.evaluation.baselines import baseline_predictions
from mlops_assets.evaluation.metrics import Predicted, is_defined, predicted_loss
from mlops_assets.ledger.facts import DeploymentPeriod, Stage
from mlops_assets.ledger.summaries import PerformanceSummary
from mlops_assets.spec.project import ProjectSpec
from mlops_assets.timeline import Timeline, Window


@dataclass(frozen=True)
class PerformanceReport:
    """The performance report of one window at one stage.

    Attributes:
        summary: the numbers, for ledger and policy.
        rows: one row per labelled prediction: event_id, event_time, entity, due, version, label, champion, shadow,
            baseline; shadow and baseline are missing (NaN or None) where they made no prediction. Empty when pending.
        versions: loss by version that served: version, rows, loss.
        left_out: number of labelled predictions that are not compared, since shadow or baseline made none.
        unlabelled: number of predictions without a label, for example in a window in quarantine. They are not counted.
    """

    summary: PerformanceSummary
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    versions: pd.DataFrame = field(default_factory=pd.DataFrame)
    left_out: int = 0
    unlabelled: int = 0


class LossComparison(TypedDict):
    """Three losses over the same events, and the number of windows of these events."""

    served: float
    first_model: float
    baseline: float
    windows: int


@dataclass(frozen=True)
class _Joined:
    """Labelled predictions of the champion, with those of the shadow and the baseline for the same events."""

    rows: pd.DataFrame
    champion: Predicted
    shadow: Predicted
    baseline: Predicted

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, mask: np.ndarray) -> _Joined:
        parts = (each.take(mask) for each in (self.champion, self.shadow, self.baseline))
        return _Joined(self.rows[mask].reset_index(drop=True), *parts)

    def comparable(self) -> _Joined:
        """Return the events that each of the three predicted; one that predicted no event at all is not considered."""
        mask = np.ones(len(self), dtype=bool)
        for predicted in (self.champion, self.shadow, self.baseline):
            if predicted.present.any():
                mask &= predicted.present
        return self.take(mask)


def performance_report(
    *,
    spec: ProjectSpec,
    timeline: Timeline,
    window: Window,
    stage: Stage,
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    series: pd.DataFrame,
    deployment_period: DeploymentPeriod,
    period_predictions: pd.DataFrame,
    shadow_version: int | None,
    promised_gain: float | None,
    known_until: datetime,
) -> PerformanceReport:
    """Join a window's predictions with their labels, and compare the losses.

    `served`, `shadow` and `baseline` are losses over the same events: the labelled events of the window that each of
    the three predicted. If one of them predicted none, its loss is None and the others are compared without it. If the
    version of the shadow served itself, its served predictions are taken. `deployment_period` is the loss over all
    labelled events that the version of the deployment period predicted and that were due within it; it is None for
    fewer than `spec.monitoring.min_rows`. Only what was known at the window's stage is used, so that a report that is
    made again is the same.

    Args:
        spec: the project.
        timeline: its time.
        window: the window.
        stage: `ended` gives a pending summary where labels are late, `labelled` gives the losses.
        predictions: frame (event_id, event_time, entity?, due, role, version, prediction, probability_<class>?) of
            the window with the roles champion and shadow. Other roles and rows outside the window are ignored.
        labels: frame (event_time, entity?, target), of published windows only.
        series: the same kind of frame, reaching back as far as the baseline needs.
        deployment_period: the deployment period at the window's end.
        period_predictions: predictions of the deployment period so far; used if its promotion expected a gain.
        shadow_version: the version that predicts in shadow; None for none.
        promised_gain: 1 - candidate / shadow on the hold-out of the promotion; None for none.
        known_until: `as_of` of the deployment period's version, for the `majority` baseline.
    """
    known = timeline.labels_at(window)
    empty = PerformanceSummary(pending=True, labels_at=known, metric=spec.problem.metric, promised_gain=promised_gain)
    if stage == "ended" and timeline.readable_at(window) < known:
        return PerformanceReport(empty)
    served = _between(predictions, window.start, window.end)
    joined = _join(spec, timeline, served, labels, series, shadow_version, known_until)
    same, of_period = joined.comparable(), joined.take(_in_period(joined.rows, deployment_period))
    enough = len(of_period) >= spec.monitoring.min_rows
    summary = PerformanceSummary(
        pending=False,
        labels_at=known,
        metric=spec.problem.metric,
        rows=len(joined),
        deployment_period_rows=len(of_period),
        served=_loss(spec, same.rows, same.champion),
        deployment_period=_loss(spec, of_period.rows, of_period.champion) if enough else None,
        shadow=_loss(spec, same.rows, same.shadow),
        baseline=_loss(spec, same.rows, same.baseline),
        promised_gain=promised_gain,
    )
    if promised_gain is not None:
        so_far = period_predictions[period_predictions["event_time"] < pd.Timestamp(window.end)]
        gain = _realised_gain(
            spec, _join(spec, timeline, so_far, labels, series, shadow_version, known_until), deployment_period
        )
        summary = summary.model_copy(update={"realised_gain": gain})
    unlabelled = int((served["role"] == "champion").sum()) - len(joined)
    return PerformanceReport(summary, _shown(joined), _by_version(spec, joined), len(joined) - len(same), unlabelled)


def compare_losses(
    *,
    spec: ProjectSpec,
    timeline: Timeline,
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    series: pd.DataFrame,
    first_version: int,
    since: datetime,
    known_until: datetime,
) -> LossComparison | None:
    """Return the losses of the served model, the first model and the baseline over the same events.

    Args:
        spec: the project.
        timeline: its time.
        predictions: predictions as in `performance_report`.
        labels: frame (event_time, entity?, target).
        series: the same kind of frame, reaching back as far as the baseline needs.
        first_version: the first champion, which predicted in shadow, or as champion after a rollback.
        since: events due at or after it count.
        known_until: the time until which the `majority` baseline counts labels.

    Returns:
        The comparison; None while no labelled event was predicted by all three.
    """
    due = predictions[predictions["due"] >= pd.Timestamp(since)]
    joined = _join(spec, timeline, due, labels, series, first_version, known_until)
    compared = (joined.champion, joined.shadow, joined.baseline)
    same = joined.take(np.all([predicted.present for predicted in compared], axis=0))
    losses = [_loss(spec, same.rows, predicted) for predicted in (same.champion, same.shadow, same.baseline)]
    served, first, baseline = losses
    if served is None or first is None or baseline is None:
        return None
    windows = {timeline.window_at(moment.to_pydatetime()).id for moment in same.rows["event_time"].drop_duplicates()}
    return LossComparison(served=served, first_model=first, baseline=baseline, windows=len(windows))


def _between(predictions: pd.DataFrame, start: datetime, end: datetime) -> pd.DataFrame:
    return predictions[
        (predictions["event_time"] >= pd.Timestamp(start)) & (predictions["event_time"] < pd.Timestamp(end))
    ]


def _in_period(rows: pd.DataFrame, period: DeploymentPeriod) -> np.ndarray:
    """Return which rows a deployment period's version predicted within it; a version may have several periods."""
    mask = (rows["version"] == period.version) & (rows["due"] >= pd.Timestamp(period.start))
    if period.end is not None:
        mask &= rows["due"] < pd.Timestamp(period.end)
    return mask.to_numpy(dtype=bool)


def _join(
    spec: ProjectSpec,
    timeline: Timeline,
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    series: pd.DataFrame,
    shadow_version: int | None,
    known_until: datetime,
) -> _Joined:
    keys, target = ["event_time", *(["entity"] if spec.data.entity else [])], spec.problem.target
    known = labels.loc[labels[target].notna(), [*keys, target]].rename(columns={target: "label"})
    served = predictions[predictions["role"] == "champion"].merge(known, on=keys, how="inner", validate="many_to_one")
    served = served.sort_values(keys, ignore_index=True)
    if spec.problem.task == "classification":
        served["label"] = served["label"].astype(str)
    champion = _predicted(spec, served)
    shadows = predictions[(predictions["version"] == shadow_version) & predictions["role"].isin(["champion", "shadow"])]
    # An event has two predictions of that version only if it served too; both are the same, and the served one is
    # taken.
    shadows = shadows.sort_values("role", kind="stable").drop_duplicates("event_id").set_index("event_id")
    shadow = _predicted(spec, shadows.reindex(served["event_id"]))
    baseline = baseline_predictions(spec, timeline, series, served, known_until=known_until)
    return _Joined(served, champion, shadow, baseline)


def _predicted(spec: ProjectSpec, rows: pd.DataFrame) -> Predicted:
    if spec.problem.task == "regression":
        return Predicted(rows["prediction"].to_numpy(dtype=float))
    value = [None if pd.isna(name) else str(name) for name in rows["prediction"]]
    probabilities = rows.reindex(columns=[f"probability_{name}" for name in spec.classes]).to_numpy(dtype=float)
    return Predicted(np.array(value, dtype=object), probabilities)


def _loss(spec: ProjectSpec, rows: pd.DataFrame, predicted: Predicted) -> float | None:
    """Return the loss; None without rows, where predictions are missing, or with too few classes for the metric."""
    labels, metric = rows["label"].to_numpy(), spec.problem.metric
    if not predicted.present.all() or not is_defined(metric, labels, spec.classes):
        return None
    return predicted_loss(metric, labels, predicted, spec.classes)


def _realised_gain(spec: ProjectSpec, so_far: _Joined, period: DeploymentPeriod) -> float | None:
    """Return 1 - loss / loss of the shadow, over all events of the period that both predicted.

    It is None for fewer events than `monitoring.min_rows`.
    """
    both = so_far.take(_in_period(so_far.rows, period) & so_far.shadow.present)
    if len(both) < spec.monitoring.min_rows:
        return None
    served, shadow = _loss(spec, both.rows, both.champion), _loss(spec, both.rows, both.shadow)
    return None if served is None or not shadow else 1 - served / shadow


def _by_version(spec: ProjectSpec, joined: _Joined) -> pd.DataFrame:
    rows = []
    for version in sorted(joined.rows["version"].unique()):
        of_version = joined.take((joined.rows["version"] == version).to_numpy(dtype=bool))
        rows.append((int(version), len(of_version), _loss(spec, of_version.rows, of_version.champion)))
    return pd.DataFrame(rows, columns=["version", "rows", "loss"])


def _shown(joined: _Joined) -> pd.DataFrame:
    kept = ["event_id", "event_time", "entity", "due", "version", "label"]
    shown = joined.rows[[name for name in kept if name in joined.rows]]
    return shown.assign(champion=joined.champion.value, shadow=joined.shadow.value, baseline=joined.baseline.value)
