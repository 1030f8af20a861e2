"""Metadata and checks of the monitoring assets for the UI: numbers with units, tables, pictures and links."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd

from mlops_assets.charts.drift import drifted_columns
from mlops_assets.charts.predictions import predictions_against_labels
from mlops_assets.charts.service import live_features, service_over_time
from mlops_assets.ledger.facts import Decision
from mlops_assets.ledger.summaries import HealthSummary, PerformanceSummary
from mlops_assets.monitoring.curves import drift_curve, drift_policies, error_curve, summaries
from mlops_assets.monitoring.drift import DriftReport
from mlops_assets.monitoring.observation import Observation
from mlops_assets.monitoring.performance import PerformanceReport
from mlops_assets.retraining.evidence import signal_table
from mlops_assets.retraining.policy_inputs import loop_state, window_evidence
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.problem import Metric
from mlops_assets.ui_metadata import numbers, picture, rounded, table

# Drift


def drift_numbers(report: DriftReport) -> dict[str, Any]:
    """Return the result, the number of live rows and the distances of a drift report."""
    summary = report.summary
    distances = {f"prediction drift ({name})": value for name, value in summary.prediction.items()}
    return {
        "result": summary.verdict,
        "live rows": summary.rows,
        **numbers({"share of drifted columns": summary.share, **distances}),
    }


def drift(each: Observation, report: DriftReport) -> dict[str, Any]:
    """Return the numbers and pictures of a drift report, and the path of its HTML page."""
    page = each.context.folder / "reports" / each.window.id.replace(":", "") / f"drift-{each.stage}.html"
    report.save_html(page)
    metadata: dict[str, Any] = {
        **drift_numbers(report),
        "deployment period": each.deployment_period.number,
        "model version": each.deployment_period.version,
        "stage": each.stage,
        "window was in quarantine": each.repaired,
        "report": dg.MetadataValue.path(page),
    }
    if report.summary.columns:
        chosen = each.context.spec.monitoring.drift
        bars = drifted_columns(report.summary.columns, threshold=chosen.threshold, statistic=chosen.statistic)
        metadata["drifted columns"] = picture(bars, "distance of each column")
        metadata["drift per window"] = picture(
            drift_curve(each.context.timeline, each.context.ledger_view()), "drift per window"
        )
    if report.notes:
        metadata["notes"] = "; ".join(report.notes)
    return metadata


def drift_checks(
    spec: ProjectSpec, reports: list[DriftReport], severity: dg.AssetCheckSeverity
) -> Iterator[dg.AssetCheckResult]:
    """Yield the checks `data_drift` and `prediction_drift` over the windows of a run."""
    shares = [report.summary.share for report in reports if report.summary.share is not None]
    yield dg.AssetCheckResult(
        check_name="data_drift",
        passed=not any(share >= spec.monitoring.drift.share for share in shares),
        severity=severity,
        metadata={
            "limit (share of drifted columns)": spec.monitoring.drift.share,
            **numbers({"largest share of drifted columns": max(shares, default=None)}),
        },
    )
    limits: dict[str, float] = {leaf.statistic: leaf.threshold for leaf in drift_policies(spec) if leaf.statistic}
    limits = limits or {spec.monitoring.drift.statistic: spec.monitoring.drift.threshold}
    found = {
        name: max((r.summary.prediction[name] for r in reports if name in r.summary.prediction), default=None)
        for name in limits
    }
    yield dg.AssetCheckResult(
        check_name="prediction_drift",
        passed=not any(value is not None and value > limits[name] for name, value in found.items()),
        severity=severity,
        metadata={**{f"{name} limit": limit for name, limit in limits.items()}, **numbers(dict(found))},
    )


# Performance


def performance_numbers(report: PerformanceReport) -> dict[str, Any]:
    """Return the losses of a performance report in the project's metric."""
    s = report.summary
    return {
        "state": "pending: labels are not available yet" if s.pending else "labelled",
        "metric": s.metric,
        "labelled predictions": s.rows,
        **numbers(
            {
                "served loss": s.served,
                "deployment period loss": s.deployment_period,
                "shadow loss": s.shadow,
                "baseline loss": s.baseline,
                "actual gain": s.realised_gain,
                "expected gain": s.promised_gain,
            }
        ),
    }


def performance(each: Observation, report: PerformanceReport) -> dict[str, Any]:
    """Return the losses, a chart of predictions and labels, and a chart of the loss per window."""
    spec = each.context.spec
    metadata: dict[str, Any] = {
        **performance_numbers(report),
        "deployment period": each.deployment_period.number,
        "model version": each.deployment_period.version,
        "stage": each.stage,
        "window was in quarantine": each.repaired,
        "predictions left out (no shadow or baseline)": report.left_out,
        "predictions without label": report.unlabelled,
    }
    if len(report.rows):
        chart = predictions_against_labels(
            report.rows, unit=spec.problem.target, zone=spec.data.time_zone, measured=usual_before(each)
        )
        metadata["predictions and labels"] = picture(chart, "predictions and labels")
    if not report.summary.pending:
        metadata["loss per window"] = picture(
            error_curve(each.context.timeline, each.context.ledger_view()), "loss per window"
        )
    return metadata


def usual_before(each: Observation) -> tuple[Metric, float] | None:
    """Return the metric and the served loss of the newest labelled window before this one, for a regression."""
    problem = each.context.spec.problem
    if problem.task != "regression":
        return None
    before = [
        s
        for window, s in summaries(each.context.timeline, each.context.ledger_view(), "performance")
        if window < each.window.start
    ]
    losses = [s.served for s in before if isinstance(s, PerformanceSummary) and s.served is not None]
    return (problem.metric, losses[-1]) if losses else None


def degradation_check(each: Observation, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    """Return the check `degradation`: the performance conditions of the policy, with this window."""
    rows = [row for row in signal_rows(each) if row.signal.startswith("performance")]
    breached = [row for row in rows if row.since is not None]
    return dg.AssetCheckResult(
        check_name="degradation",
        passed=not breached,
        severity=severity,
        metadata={row.signal: f"{_text(row.value)} ({row.condition})" for row in rows}
        or {"performance conditions": "the policy has none"},
    )


# Health


def health_numbers(summary: HealthSummary) -> dict[str, Any]:
    """Return the numbers of a health report, with units."""
    return numbers(
        {
            "requests": summary.requests,
            "failed requests": summary.errors,
            "availability (%)": None if summary.availability is None else 100 * summary.availability,
            "late events": summary.late,
            "missed events": summary.missed,
            "lost events": summary.lost,
            "latency p50 (ms)": summary.p50_ms,
            "latency p95 (ms)": summary.p95_ms,
            "latency p99 (ms)": summary.p99_ms,
            "memory (MB)": summary.memory_mb,
        }
    )


def health(each: Observation, summary: HealthSummary) -> dict[str, Any]:
    """Return the numbers of a health report, a chart of the requests, and a chart of the live features."""
    spec, predictions = each.context.spec, each.predictions()
    request_chart = service_over_time(
        each.requests(),
        step=max(spec.data.every, timedelta(hours=1)),
        limit_ms=spec.serving.latency.total_seconds() * 1000,
        zone=spec.data.time_zone,
    )
    features = pd.DataFrame(list(predictions["features"])).assign(event_time=predictions["event_time"].to_numpy())
    names = [*spec.features.known, *features.columns.drop("event_time").difference(spec.features.known)]
    feature_chart = live_features(features, names, zone=spec.data.time_zone)
    return {
        **health_numbers(summary),
        "requests over time": picture(request_chart, "latency, throughput and errors"),
        "live features": picture(feature_chart, "live features"),
    }


def health_checks(
    spec: ProjectSpec, summaries: list[HealthSummary], severity: dg.AssetCheckSeverity
) -> Iterator[dg.AssetCheckResult]:
    """Yield the checks `available` and `latency` over the windows of a run."""
    missed, lost = sum(s.missed for s in summaries), sum(s.lost for s in summaries)
    errors = sum(s.errors for s in summaries)
    yield dg.AssetCheckResult(
        check_name="available",
        passed=not missed and not lost and not errors,
        severity=severity,
        metadata={"missed events": missed, "lost events": lost, "failed requests": errors},
    )
    slowest = max((s.p95_ms for s in summaries if s.p95_ms is not None), default=None)
    limit = spec.serving.latency.total_seconds() * 1000
    yield dg.AssetCheckResult(
        check_name="latency",
        passed=slowest is None or slowest <= limit,
        severity=severity,
        metadata={"limit (ms)": limit, **numbers({"latency p95 (ms)": slowest})},
    )


# Decision


def signal_rows(each: Observation) -> list[Any]:
    """Return the conditions of the policy with their values at this window."""
    view = each.context.ledger_view()
    present = view.deployment_period
    if present is None:
        return []
    windows = window_evidence(each.context.timeline, view, present, each.window)
    state = loop_state(each.context.timeline, view, present, new_rows=each.new_rows())
    return list(signal_table(each.context.spec.retraining, windows, state, each.now))


def decision(each: Observation, found: Decision | None) -> dict[str, Any]:
    """Return the decision with its reason, the conditions, the guards and the active triggers."""
    if found is None:
        return {
            "decision": "none",
            "reason": "the window was in quarantine: it is reported, and no decision is made on it",
        }
    signals = [
        {"trigger": row.signal, "condition": row.condition, "value": _text(row.value), "since": row.since or "-"}
        for row in signal_rows(each)
    ]
    metadata: dict[str, Any] = {
        **decision_numbers(found),
        "decision id": found.id,
        "model version": each.view.deployment_period.version if each.view.deployment_period else "none",
        "stage": each.stage,
    }
    if signals:
        metadata["conditions"] = table(signals)
    if found.guards:
        metadata["guards"] = table(
            [
                {"guard": g.name, "state": "passed" if g.passed else "not passed", "detail": g.detail}
                for g in found.guards
            ]
        )
    if found.evidence:
        metadata["active triggers"] = table(
            [
                {
                    "trigger": e.signal,
                    "since window": e.window,
                    "value": rounded(e.value),
                    "limit": rounded(e.threshold),
                }
                for e in found.evidence
            ]
        )
    return metadata


def decision_numbers(found: Decision | None) -> dict[str, Any]:
    """Return the outcome, its reason and the number of active triggers."""
    if found is None:
        return {"decision": "none"}
    return {"decision": found.outcome, "reason": found.reason, "number of active triggers": len(found.evidence)}


def _text(value: float | None) -> str:
    return "none yet" if value is None else f"{value:.4g}"
