"""The deployment assets' metadata: numbers, tables and links for the UI."""

from __future__ import annotations

from typing import Any

import dagster as dg

from mlops_assets.charts.performance import loss_comparison
from mlops_assets.context import ProjectContext
from mlops_assets.deployment.gate import Outcome
from mlops_assets.deployment.window_predictions import WindowPredictions
from mlops_assets.ledger.view import LedgerView
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import iso
from mlops_assets.ui_metadata import loss_key, picture, rounded, table


def champion(spec: ProjectSpec, outcome: Outcome, view: LedgerView) -> dict[str, Any]:
    """Return the verdict with its reasons and losses, and the latest deployment periods."""
    verdict, metric = outcome.verdict, spec.problem.metric
    sides = {"candidate": verdict.candidate_loss, "champion": verdict.champion_loss, "baseline": verdict.baseline_loss}
    losses = {name: value for name, value in sides.items() if value is not None}
    serving = view.deployment_period.version if view.deployment_period is not None else "none"
    return {
        "verdict": verdict.verdict,
        "reasons": " ".join(verdict.reasons),
        "candidate": verdict.version if verdict.version is not None else "none",
        "serving": serving,
        "decision": _decision(view, verdict.training),
        "requested by": verdict.by,
        "forced": verdict.forced,
        **{loss_key(f"{name} loss", metric, spec.problem.target): rounded(value) for name, value in losses.items()},
        "losses": picture(loss_comparison(losses, metric=metric, interval=verdict.interval), "losses"),
        "deployment periods": table(
            [
                {"period": period.number, "version": period.version, "from": iso(period.start), "cause": period.cause}
                for period in view.deployment_periods[-20:]
            ]
            or [{"period": 0, "version": 0, "from": "-", "cause": "none yet"}]
        ),
    }


def _decision(view: LedgerView, training: str) -> str:
    decision = next((fact.decision for fact in view.started_trainings if fact.training == training), None)
    found = view.decision(decision) if decision else None
    return found.reason if found is not None else "none: requested by a person"


def endpoint(project_context: ProjectContext, version: int | None) -> dict[str, Any]:
    """Return the address of the service, and the versions that it serves."""
    known = project_context.ledger_view().versions
    url = project_context.endpoint.url or "not running"
    return {
        "url": dg.MetadataValue.url(url),
        "documentation": dg.MetadataValue.url(f"{url}/docs"),
        "model version": version if version is not None else "none",
        "dataset": known[version].dataset if version is not None else "none",
        "shadow": project_context.endpoint.shadowing() or "none",
    }


def predictions(found: WindowPredictions) -> dict[str, Any]:
    """Return the counts of a window's events by state, and the versions that predicted them."""
    account = found.account
    versions = sorted(set(found.predictions["version"])) if len(found.predictions) else []
    return {
        "due": account.due,
        "answered": len(account.answered),
        "late": found.late,
        "missed": len(account.missed),
        "waiting": len(account.waiting),
        "lost": len(account.lost),
        "shadow predictions": found.shadow,
        "model versions": ", ".join(str(version) for version in versions) or "none",
        "data version": found.data_version,
        "missed because": "; ".join(sorted(set(found.missed.values()))[:5]) or "none missed",
        "lost event ids": ", ".join(sorted(account.lost)[:5]) or "none",
    }


def counts(found: list[WindowPredictions]) -> dict[str, Any]:
    """Return the sums over all windows of a run."""
    accounts = [each.account for each in found]
    return {
        "windows": len(found),
        "due events": sum(account.due for account in accounts),
        "answered events": sum(len(account.answered) for account in accounts),
        "missed events": sum(len(account.missed) for account in accounts),
        "lost events": sum(len(account.lost) for account in accounts),
    }


def complete(found: list[WindowPredictions]) -> dict[str, Any]:
    """Return how many events are still waiting and how many are lost, per window that has any."""
    waiting = {each.window.id: len(each.account.waiting) for each in found if each.account.waiting}
    lost = {each.window.id: len(each.account.lost) for each in found if each.account.lost}
    return {
        "waiting events": "; ".join(f"{count} in window {window}" for window, count in waiting.items()) or "none",
        "lost events": "; ".join(f"{count} in window {window}" for window, count in lost.items()) or "none",
    }
