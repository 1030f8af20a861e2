"""The monitoring assets' metadata and checks: numbers, tables, pictures and links for the UI."""

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
from mlops_assets.ui_metadata import picture, table


def numbers(values: dict[str, float | int | None]) -> dict[str, float | int]:
    """Those that there are: the UI plots them over windows and runs."""
    return {name: value for name, value in values.items() if value is not None}


# Drift


def drift_numbers(report: DriftReport) -> dict[str, Any]:
    """The summary, as numbers."""
    summary = report.summary
    distances = {f"prediction {name}": value for name, value in summary.prediction.items()}
    return {
        "verdict": summary.verdict,
        "rows": summary.rows,
        **numbers({"share of drifted columns": summary.share, **distances}),
    }


def drift(each: Observation, report: DriftReport) -> dict[str, Any]:
    """Numbers, pictures, and the link to Evidently's page."""
    page = each.context.folder / "reports" / each.window.id.replace(":", "") / f"drift-{each.stage}.html"
    report.save_html(page)
    metadata: dict[str, Any] = {
        **drift_numbers(report),
        "reign": each.deployment_period.number,
        "model version": each.deployment_period.version,
        "stage": each.stage,
        "repaired": each.repaired,
        "report": dg.MetadataValue.path(page),
    }
    if report.summary.columns:
        chosen = each.context.spec.monitoring.drift
        bars = drifted_columns(report.summary.columns, threshold=chosen.threshold, statistic=chosen.statistic)
        metadata["drifted columns"] = picture(bars, "distance per column")
        metadata["drift so far"] = picture(
            drift_curve(each.context.timeline, each.context.ledger_view()), "drift per window"
        )
    if report.notes:
        metadata["notes"] = "; ".join(report.notes)
    return metadata


def drift_checks(
    spec: ProjectSpec, reports: list[DriftReport], severity: dg.AssetCheckSeverity
) -> Iterator[dg.AssetCheckResult]:
    """`data_drift` and `prediction_drift`, over the windows of a run."""
    shares = [report.summary.share for report in reports if report.summary.share is not None]
    yield dg.AssetCheckResult(
        check_name="data_drift",
        passed=not any(share >= spec.monitoring.drift.share for share in shares),
        severity=severity,
        metadata={"threshold": spec.monitoring.drift.share, **numbers({"share": max(shares, default=None)})},
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
        metadata={**{f"{name} threshold": limit for name, limit in limits.items()}, **numbers(dict(found))},
    )


# Performance


def performance_numbers(report: PerformanceReport) -> dict[str, Any]:
    """The summary, as numbers."""
    s = report.summary
    return {
        "state": "pending: the labels are not due yet" if s.pending else "labelled",
        "rows": s.rows,
        **numbers(
            {
                "served loss": s.served,
                "deployment period loss": s.deployment_period,
                "shadow loss": s.shadow,
                "baseline loss": s.baseline,
                "realised gain": s.realised_gain,
                "promised gain": s.promised_gain,
            }
        ),
    }


def performance(each: Observation, report: PerformanceReport) -> dict[str, Any]:
    """Numbers, the forecast against the truth, the error over time with promotions marked."""
    spec = each.context.spec
    metadata: dict[str, Any] = {
        **performance_numbers(report),
        "reign": each.deployment_period.number,
        "model version": each.deployment_period.version,
        "stage": each.stage,
        "repaired": each.repaired,
        "left out": report.left_out,
        "unlabelled": report.unlabelled,
    }
    if len(report.rows):
        forecast = predictions_against_labels(
            report.rows, unit=spec.problem.target, zone=spec.data.time_zone, measured=usual_before(each)
        )
        metadata["forecast"] = picture(forecast, "forecast and truth")
    if not report.summary.pending:
        metadata["error so far"] = picture(
            error_curve(each.context.timeline, each.context.ledger_view()), "error per window"
        )
    return metadata


def usual_before(each: Observation) -> tuple[Metric, float] | None:
    """A regression's metric, and the served loss of the newest labelled window before this one, if there is one."""
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
    """`degradation`: the policy's performance signals, as they stand with this window."""
    rows = [row for row in signal_rows(each) if row.signal.startswith("performance")]
    breached = [row for row in rows if row.since is not None]
    return dg.AssetCheckResult(
        check_name="degradation",
        passed=not breached,
        severity=severity,
        metadata={row.signal: f"{_shown(row.value)} ({row.condition})" for row in rows} or {"signals": "none declared"},
    )


# Health


def health_numbers(summary: HealthSummary) -> dict[str, Any]:
    """The summary, as numbers."""
    return numbers({name: getattr(summary, name) for name in type(summary).model_fields})


def health(each: Observation, summary: HealthSummary) -> dict[str, Any]:
    """Numbers; latency, throughput and errors over the window; what the model was given."""
    spec, answers = each.context.spec, each.answers()
    service = service_over_time(
        each.requests(),
        step=max(spec.data.every, timedelta(hours=1)),
        limit_ms=spec.serving.latency.total_seconds() * 1000,
        zone=spec.data.time_zone,
    )
    features = pd.DataFrame(list(answers["features"])).assign(event_time=answers["event_time"].to_numpy())
    names = [*spec.features.known, *features.columns.drop("event_time").difference(spec.features.known)]
    given = live_features(features, names, zone=spec.data.time_zone)
    return {
        **health_numbers(summary),
        "service": picture(service, "latency, throughput and errors"),
        "live features": picture(given, "live features"),
    }


def health_checks(
    spec: ProjectSpec, summaries: list[HealthSummary], severity: dg.AssetCheckSeverity
) -> Iterator[dg.AssetCheckResult]:
    """`available` and `latency`, over the windows of a run."""
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
        metadata={"limit (ms)": limit, **numbers({"p95 (ms)": slowest})},
    )


# Decision


def signal_rows(each: Observation) -> list[Any]:
    """The policy's conditions as they stand with this window."""
    view = each.context.ledger_view()
    present = view.deployment_period
    if present is None:
        return []
    windows = window_evidence(each.context.timeline, view, present, each.window)
    facts = loop_state(each.context.timeline, view, present, new_rows=each.new_rows())
    return list(signal_table(each.context.spec.retraining, windows, facts, each.now))


def decision(each: Observation, found: Decision | None) -> dict[str, Any]:
    """The sentence, beside evidence, thresholds and guards."""
    if found is None:
        return {"decision": "none", "reason": "a repaired window is reported, and decides nothing"}
    signals = [
        {"signal": row.signal, "breached when": row.condition, "now": _shown(row.value), "since": row.since or "-"}
        for row in signal_rows(each)
    ]
    metadata: dict[str, Any] = {
        **decision_numbers(found),
        "decision id": found.id,
        "model version": each.view.versions[each.view.deployment_period.version].version
        if each.view.deployment_period
        else "none",
        "stage": each.stage,
    }
    if signals:
        metadata["signals"] = table(signals)
    if found.guards:
        metadata["guards"] = table(
            [
                {"guard": g.name, "state": "passed" if g.passed else "holds back", "detail": g.detail}
                for g in found.guards
            ]
        )
    if found.evidence:
        metadata["evidence"] = table(
            [
                {"signal": e.signal, "since": e.window, "value": e.value, "threshold": e.threshold}
                for e in found.evidence
            ]
        )
    return metadata


def decision_numbers(found: Decision | None) -> dict[str, Any]:
    """The outcome and why."""
    if found is None:
        return {"decision": "none"}
    return {"decision": found.outcome, "reason": found.reason, "evidence count": len(found.evidence)}


def _shown(value: float | None) -> str:
    return "none yet" if value is None else f"{value:.4g}"
