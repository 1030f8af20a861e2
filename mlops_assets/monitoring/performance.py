"""What the served model lost, beside the shadow and the baseline, over the same events."""

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
from mlops_assets.spec.problem import Metric
from mlops_assets.spec.project import ProjectSpec
from mlops_assets.timeline import Timeline, Window


@dataclass(frozen=True)
class PerformanceReport:
    """The numbers of one window at one stage, and the rows behind them.

    Attributes:
        summary: for ledger and policy.
        rows: one per labelled answer: event_id, event_time, entity, due, version, truth, champion, shadow, baseline;
            shadow and baseline are missing (NaN or None) where they gave no answer. Empty when pending.
        versions: loss by serving version: version, rows, loss.
        left_out: labelled answers that `served`, `shadow` and `baseline` do not count, since one of them is missing.
        unlabelled: answers whose truth is not there (a quarantined window's): they count for nobody.
    """

    summary: PerformanceSummary
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    versions: pd.DataFrame = field(default_factory=pd.DataFrame)
    left_out: int = 0
    unlabelled: int = 0


class LossComparison(TypedDict):
    """The three losses over the same events; how many windows those lie in."""

    served: float
    first_model: float
    baseline: float
    windows: int


@dataclass(frozen=True)
class _Answered:
    """Labelled answers of the champion beside the shadow's and the baseline's to the same events."""

    rows: pd.DataFrame
    champion: Predicted
    shadow: Predicted
    baseline: Predicted

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, mask: np.ndarray) -> _Answered:
        forecasts = (each.take(mask) for each in (self.champion, self.shadow, self.baseline))
        return _Answered(self.rows[mask].reset_index(drop=True), *forecasts)

    def comparable(self) -> _Answered:
        """Events that all have answered who answered any: one that is absent throughout hides nobody else."""
        mask = np.ones(len(self), dtype=bool)
        for forecast in (self.champion, self.shadow, self.baseline):
            if forecast.present.any():
                mask &= forecast.present
        return self.take(mask)


def performance_report(
    *,
    spec: ProjectSpec,
    timeline: Timeline,
    window: Window,
    stage: Stage,
    answers: pd.DataFrame,
    labels: pd.DataFrame,
    series: pd.DataFrame,
    deployment_period: DeploymentPeriod,
    performance_so_far: pd.DataFrame,
    shadow_version: int | None,
    promised_gain: float | None,
    known_until: datetime,
) -> PerformanceReport:
    """Join a window's answers with their labels and compare.

    `served`, `shadow` and `baseline` are taken over the same events: labelled answers of the window to which each of
    the three has an answer (one that has none at all is None and leaves the others alone). Where the shadow's version
    itself served, that answer is the shadow's. `deployment_period` is taken over all labelled answers of the window that the
    deployment period's version gave and that were due within the deployment period; below `spec.monitoring.min_rows` of them it is None.
    Only what was known at the window's stage is used, so that the report made again gives the same.

    Args:
        spec: the project.
        timeline: its time.
        window: the window.
        stage: `ended` gives a pending summary where labels are late, `labelled` the numbers.
        answers: frame (event_id, event_time, entity?, due, role, version, prediction, probability_<class>?) holding
            the window's answers of roles champion and shadow; others and rows outside the window are passed over.
        labels: frame (event_time, entity?, target), of published windows only.
        series: the same kind of frame, back to where the baseline looks.
        deployment period: the deployment period in force at the window's end.
        reign_history: answers as above of the deployment period so far; used where a gain was promised.
        shadow_version: which version predicts in the shadow; None for none.
        promised_gain: 1 - candidate / shadow on the hold-out of the promotion that began the deployment period; None for none.
        known_until: `as_of` of the deployment period's version, for the `majority` baseline.
    """
    known = timeline.labels_at(window)
    empty = PerformanceSummary(pending=True, labels_at=known, metric=spec.problem.metric, promised_gain=promised_gain)
    if stage == "ended" and timeline.readable_at(window) < known:
        return PerformanceReport(empty)
    served = _between(answers, window.start, window.end)
    joined = _join(spec, timeline, served, labels, series, shadow_version, known_until)
    same, of_deployment_period = joined.comparable(), joined.take(_in_deployment_period(joined.rows, deployment_period))
    enough = len(of_deployment_period) >= spec.monitoring.min_rows
    summary = PerformanceSummary(
        pending=False,
        labels_at=known,
        metric=spec.problem.metric,
        rows=len(joined),
        deployment_period_rows=len(of_deployment_period),
        served=_loss(spec, same.rows, same.champion),
        deployment_period=_loss(spec, of_deployment_period.rows, of_deployment_period.champion) if enough else None,
        shadow=_loss(spec, same.rows, same.shadow),
        baseline=_loss(spec, same.rows, same.baseline),
        promised_gain=promised_gain,
    )
    if promised_gain is not None:
        so_far = performance_so_far[performance_so_far["event_time"] < pd.Timestamp(window.end)]
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
    answers: pd.DataFrame,
    labels: pd.DataFrame,
    series: pd.DataFrame,
    first_version: int,
    since: datetime,
    known_until: datetime,
) -> LossComparison | None:
    """The losses of served model, first model and baseline over the same events due since a time.

    Args:
        spec: the project.
        timeline: its time.
        answers: frame of answers as in `performance_report`.
        labels: frame (event_time, entity?, target).
        series: the same kind of frame, back to where the baseline looks.
        first_version: the first champion, which answered in the shadow, or as champion after a rollback.
        since: events due at or after it count.
        known_until: for the `majority` baseline.

    Returns:
        The comparison; None when no labelled event has an answer of all three.
    """
    due = answers[answers["due"] >= pd.Timestamp(since)]
    joined = _join(spec, timeline, due, labels, series, first_version, known_until)
    forecasts = (joined.champion, joined.shadow, joined.baseline)
    same = joined.take(np.all([forecast.present for forecast in forecasts], axis=0))
    losses = [_loss(spec, same.rows, forecast) for forecast in (same.champion, same.shadow, same.baseline)]
    served, first, baseline = losses
    if served is None or first is None or baseline is None:
        return None
    windows = {timeline.window_at(moment.to_pydatetime()).id for moment in same.rows["event_time"].drop_duplicates()}
    return LossComparison(served=served, first_model=first, baseline=baseline, windows=len(windows))


def _between(answers: pd.DataFrame, start: datetime, end: datetime) -> pd.DataFrame:
    return answers[(answers["event_time"] >= pd.Timestamp(start)) & (answers["event_time"] < pd.Timestamp(end))]


def _in_deployment_period(rows: pd.DataFrame, deployment_period: DeploymentPeriod) -> np.ndarray:
    """Version and time: a rollback gives a version a second deployment period, and its first one's answers are not of that."""
    mask = (rows["version"] == deployment_period.version) & (rows["due"] >= pd.Timestamp(deployment_period.start))
    if deployment_period.end is not None:
        mask &= rows["due"] < pd.Timestamp(deployment_period.end)
    return mask.to_numpy(dtype=bool)


def _join(
    spec: ProjectSpec,
    timeline: Timeline,
    answers: pd.DataFrame,
    labels: pd.DataFrame,
    series: pd.DataFrame,
    shadow_version: int | None,
    known_until: datetime,
) -> _Answered:
    keys, target = ["event_time", *(["entity"] if spec.data.entity else [])], spec.problem.target
    truth = labels.loc[labels[target].notna(), [*keys, target]].rename(columns={target: "label"})
    served = answers[answers["role"] == "champion"].merge(truth, on=keys, how="inner", validate="many_to_one")
    served = served.sort_values(keys, ignore_index=True)
    if spec.problem.task == "classification":
        served["label"] = served["label"].astype(str)
    champion = _predicted(spec, served)
    shadows = answers[(answers["version"] == shadow_version) & answers["role"].isin(["champion", "shadow"])]
    # An event has two answers of that version only if it served too: then both are the same, the served one is taken.
    shadows = shadows.sort_values("role", kind="stable").drop_duplicates("event_id").set_index("event_id")
    shadow = _predicted(spec, shadows.reindex(served["event_id"]))
    baseline = baseline_predictions(spec, timeline, series, served, known_until=known_until)
    return _Answered(served, champion, shadow, baseline)


def _predicted(spec: ProjectSpec, rows: pd.DataFrame) -> Predicted:
    if spec.problem.task == "regression":
        return Predicted(rows["prediction"].to_numpy(dtype=float))
    value = [None if pd.isna(name) else str(name) for name in rows["prediction"]]
    probabilities = rows.reindex(columns=[f"probability_{name}" for name in spec.classes]).to_numpy(dtype=float)
    return Predicted(np.array(value, dtype=object), probabilities)


def _loss(spec: ProjectSpec, rows: pd.DataFrame, forecast: Predicted) -> float | None:
    """None where nothing can be said: no rows, nobody's answers, or too few classes for the metric."""
    truth, metric = rows["label"].to_numpy(), _metric(spec)
    if not forecast.present.all() or not is_defined(metric, truth, spec.classes):
        return None
    return predicted_loss(metric, truth, forecast, spec.classes)


def _metric(spec: ProjectSpec) -> Metric:
    return spec.problem.metric


def _realised_gain(spec: ProjectSpec, so_far: _Answered, deployment_period: DeploymentPeriod) -> float | None:
    """1 - deployment period / shadow over the deployment period's events that both answered; None for fewer than `min_rows`."""
    both = so_far.take(_in_deployment_period(so_far.rows, deployment_period) & so_far.shadow.present)
    if len(both) < spec.monitoring.min_rows:
        return None
    served, shadow = _loss(spec, both.rows, both.champion), _loss(spec, both.rows, both.shadow)
    return None if served is None or not shadow else 1 - served / shadow


def _by_version(spec: ProjectSpec, joined: _Answered) -> pd.DataFrame:
    rows = []
    for version in sorted(joined.rows["version"].unique()):
        of_version = joined.take((joined.rows["version"] == version).to_numpy(dtype=bool))
        rows.append((int(version), len(of_version), _loss(spec, of_version.rows, of_version.champion)))
    return pd.DataFrame(rows, columns=["version", "rows", "loss"])


def _shown(joined: _Answered) -> pd.DataFrame:
    kept = ["event_id", "event_time", "entity", "due", "version", "label"]
    shown = joined.rows[[name for name in kept if name in joined.rows]]
    return shown.assign(champion=joined.champion.value, shadow=joined.shadow.value, baseline=joined.baseline.value)
