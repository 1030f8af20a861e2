"""The deployment assets' metadata: numbers, tables and links for the UI."""

from __future__ import annotations

from typing import Any

import dagster as dg

from mlops_assets.charts import charts
from mlops_assets.context import ProjectContext
from mlops_assets.deployment.gate import Outcome
from mlops_assets.deployment.window_predictions import WindowPredictions
from mlops_assets.ledger.view import LedgerView
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import iso
from mlops_assets.ui_metadata import picture, table


def champion(spec: ProjectSpec, outcome: Outcome, view: LedgerView) -> dict[str, Any]:
    """The verdict, its reasons, and who serves now."""
    verdict = outcome.verdict
    sides = {"candidate": verdict.candidate_loss, "champion": verdict.champion_loss, "baseline": verdict.baseline_loss}
    losses = {name: value for name, value in sides.items() if value is not None}
    serving = view.deployment_period.version if view.deployment_period is not None else "none"
    return {
        "verdict": verdict.verdict,
        "reasons": " ".join(verdict.reasons),
        "candidate": verdict.version if verdict.version is not None else "none",
        "serving": serving,
        "decision": _decision(view, verdict.training),
        "asked by": verdict.by,
        "forced": verdict.forced,
        **{f"{name} loss": value for name, value in losses.items()},
        "losses": picture(
            charts.loss_comparison(losses, metric=spec.problem.metric, interval=verdict.interval), "losses"
        ),
        "reigns": table(
            [
                {"reign": r.number, "version": r.version, "from": iso(r.start), "cause": r.cause}
                for r in view.deployment_periods[-20:]
            ]
            or [{"reign": 0, "version": 0, "from": "-", "cause": "none yet"}]
        ),
    }


def _decision(view: LedgerView, training: str) -> str:
    decision = next((fact.decision for fact in view.started_trainings if fact.training == training), None)
    found = view.decision(decision) if decision else None
    return found.reason if found is not None else "none: asked for by a person"


def endpoint(project_context: ProjectContext, version: int | None) -> dict[str, Any]:
    """Where the service is, and what it serves."""
    known = project_context.ledger_view().versions
    url = project_context.endpoint.url or "not running"
    return {
        "url": dg.MetadataValue.url(url),
        "documentation": dg.MetadataValue.url(f"{url}/docs"),
        "model version": version if version is not None else "none",
        "dataset": known[version].dataset if version is not None else "none",
        "shadow": project_context.endpoint.shadowing() or "none",
    }


def predictions(project_context: ProjectContext, found: WindowPredictions) -> dict[str, Any]:
    """The account of a window's events."""
    versions = sorted(set(found.answers["version"])) if len(found.answers) else []
    return {
        "due": found.due,
        "answered": len(found.answers),
        "late": found.late,
        "missed": len(found.missed),
        "shadow answers": found.shadow,
        "model versions": ", ".join(str(version) for version in versions) or "none",
        "data version": found.data_version,
        "missed because": "; ".join(sorted(set(found.missed.values()))[:5]) or "none missed",
    }


def counts(found: list[WindowPredictions]) -> dict[str, Any]:
    """The same over all windows of a run."""
    return {
        "windows": len(found),
        "due events": sum(answers.due for answers in found),
        "answered events": sum(len(answers.answers) for answers in found),
        "missed events": sum(len(answers.missed) for answers in found),
    }
