"""Tables and charts of the reports of all windows, made from the ledger alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pandas as pd

from mlops_assets.charts.drift import drift_over_time
from mlops_assets.charts.performance import error_over_time
from mlops_assets.ledger.facts import Reported
from mlops_assets.ledger.summaries import DriftSummary, PerformanceSummary, Summary
from mlops_assets.ledger.view import LedgerView
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.policies import DriftPolicy, leaves
from mlops_assets.timeline import Timeline


def summaries(timeline: Timeline, view: LedgerView, report: str) -> Iterator[tuple[datetime, Summary]]:
    """Yield the start and the newest summary of each reported window, oldest window first.

    Args:
        timeline: the project's time.
        view: the project's ledger.
        report: `drift`, `performance` or `health`.
    """
    for window in sorted({fact.window for fact in view.of(Reported) if fact.report == report}):
        found = view.newest_report(report, window)
        if found is not None:
            yield timeline.window(window).start, found.typed


def promotions(view: LedgerView) -> list[tuple[datetime, str]]:
    """Return when each version after the first one was promoted, with its label in charts (`v2`)."""
    return [(period.start, f"v{period.version}") for period in view.deployment_periods[1:]]


def drift_policies(spec: ProjectSpec) -> list[DriftPolicy]:
    """Return the drift conditions of the project's policy."""
    return [leaf for leaf in leaves(spec.retraining.when) if isinstance(leaf, DriftPolicy)]


def drift_curve(timeline: Timeline, view: LedgerView) -> bytes:
    """Return a PNG of the share of drifted columns and the distance of the predictions, per window."""
    spec, rows = timeline.spec, []
    reported = [(start, s) for start, s in summaries(timeline, view, "drift") if isinstance(s, DriftSummary)]
    measured = [s.prediction for _, s in reported if s.prediction]
    statistic = (
        next(iter(measured[-1]), spec.monitoring.drift.statistic) if measured else spec.monitoring.drift.statistic
    )
    for start, summary in reported:
        rows.append({"window": start, "share": summary.share, "prediction": summary.prediction.get(statistic)})
    limits = [leaf.threshold for leaf in drift_policies(spec) if leaf.statistic == statistic]
    return drift_over_time(
        pd.DataFrame(rows),
        share=spec.monitoring.drift.share,
        statistic=statistic,
        threshold=limits[0] if limits else None,
        promotions=promotions(view),
        zone=spec.data.time_zone,
    )


def error_curve(timeline: Timeline, view: LedgerView) -> bytes:
    """Return a PNG of the loss of champion, shadow and baseline per window, with promotions and RETRAIN decisions."""
    spec, rows = timeline.spec, []
    for start, summary in summaries(timeline, view, "performance"):
        if isinstance(summary, PerformanceSummary) and not summary.pending:
            losses = {"served": summary.served, "shadow": summary.shadow, "baseline": summary.baseline}
            rows.append({"window": start, **losses})
    retrains = [timeline.window(d.window).start for d in view.decisions if d.outcome == "RETRAIN" and d.window]
    return error_over_time(
        pd.DataFrame(rows),
        metric=spec.problem.metric,
        promotions=promotions(view),
        retrains=retrains,
        unit=spec.problem.target,
        zone=spec.data.time_zone,
    )
