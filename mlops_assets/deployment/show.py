"""The deployment assets' metadata: numbers, tables and links for the UI."""

from __future__ import annotations

from typing import Any

import dagster as dg

from mlops_assets import pictures
from mlops_assets.deployment.answers import WindowAnswers
from mlops_assets.deployment.gate import Outcome
from mlops_assets.metadata import picture, table
from mlops_assets.retraining.history import History
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import iso
from resources.platform import Desk


def champion(spec: ProjectSpec, outcome: Outcome, history: History) -> dict[str, Any]:
    """The verdict, its reasons, and who serves now."""
    verdict = outcome.verdict
    sides = {"candidate": verdict.candidate_loss, "champion": verdict.champion_loss, "baseline": verdict.baseline_loss}
    losses = {name: value for name, value in sides.items() if value is not None}
    serving = history.reign.version if history.reign is not None else "none"
    return {
        "verdict": verdict.verdict,
        "reasons": " ".join(verdict.reasons),
        "candidate": verdict.version if verdict.version is not None else "none",
        "serving": serving,
        "decision": _decision(history, verdict.training),
        "asked by": verdict.by,
        "forced": verdict.forced,
        **{f"{name} loss": value for name, value in losses.items()},
        "losses": picture(
            pictures.loss_comparison(losses, metric=spec.problem.metric, interval=verdict.interval), "losses"
        ),
        "reigns": table(
            [
                {"reign": r.number, "version": r.version, "from": iso(r.start), "cause": r.cause}
                for r in history.reigns[-20:]
            ]
            or [{"reign": 0, "version": 0, "from": "-", "cause": "none yet"}]
        ),
    }


def _decision(history: History, training: str) -> str:
    decision = next((fact.decision for fact in history.started if fact.training == training), None)
    found = history.decision(decision) if decision else None
    return found.reason if found is not None else "none: asked for by a person"


def endpoint(desk: Desk, version: int | None) -> dict[str, Any]:
    """Where the service is, and what it serves."""
    known = desk.history().versions
    url = desk.endpoint.url or "not running"
    return {
        "url": dg.MetadataValue.url(url),
        "documentation": dg.MetadataValue.url(f"{url}/docs"),
        "model version": version if version is not None else "none",
        "dataset": known[version].dataset if version is not None else "none",
        "shadow": desk.endpoint.shadowing() or "none",
    }


def predictions(desk: Desk, found: WindowAnswers) -> dict[str, Any]:
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


def counts(found: list[WindowAnswers]) -> dict[str, Any]:
    """The same over all windows of a run."""
    return {
        "windows": len(found),
        "due events": sum(answers.due for answers in found),
        "answered events": sum(len(answers.answers) for answers in found),
        "missed events": sum(len(answers.missed) for answers in found),
    }
