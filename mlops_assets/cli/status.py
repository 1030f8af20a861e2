"""`status`: what is true of a project now. `project_status` is a contract that other tools read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from mlops_assets.context import ProjectContext
from mlops_assets.errors import EndpointError
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.outstanding import monitored_from
from mlops_assets.monitoring.observation import predictions_frame
from mlops_assets.monitoring.performance import compare_losses
from mlops_assets.timeline import iso

LAST = 10
"""Decisions and verdicts shown; all of them are in the ledger."""


def project_status(context: ProjectContext) -> dict[str, Any]:
    """The facts of one project; times are ISO 8601 in UTC."""
    view = context.ledger_view()
    return {
        "now": iso(context.now()),
        "champion": _champion(view),
        "endpoint": _endpoint(context),
        "windows": _windows(context, view),
        "events": _events(context, view),
        "retrainings": sum(f.outcome == "JUDGED" and f.by in ("policy", "person") for f in view.ended_trainings),
        "decisions": [
            {
                "id": d.id,
                "at": iso(d.at),
                "decision": d.outcome,
                "reasons": [d.reason],
                "run_id": _run_of(view, d.id),
            }
            for d in view.decisions[-LAST:]
        ],
        "verdicts": [
            {
                "at": iso(v.at),
                "verdict": v.verdict,
                "version": v.version,
                "champion_loss": v.champion_loss,
                "candidate_loss": v.candidate_loss,
            }
            for v in view.verdicts[-LAST:]
        ],
        "loss": live_loss(context, view),
    }


def _champion(view: LedgerView) -> dict[str, Any] | None:
    if view.deployment_period is None:
        return None
    version = view.versions[view.deployment_period.version]
    return {
        "version": version.version,
        "dataset": version.dataset,
        "as_of": iso(version.as_of),
        "trained_through": iso(version.trained_through),
    }


def _endpoint(context: ProjectContext) -> dict[str, Any]:
    try:
        found = context.endpoint.status()
    except EndpointError:
        # It runs and does not answer: that is a fact about it, not a fault of asking.
        return {"url": context.endpoint.url, "model_version": None, "dataset": None, "ready": False}
    champion = (found or {}).get("champion") or {}
    return {
        "url": context.endpoint.url,
        "model_version": champion.get("version"),
        "dataset": champion.get("dataset"),
        "ready": bool(found and found["ready"]),
    }


def _windows(context: ProjectContext, view: LedgerView) -> dict[str, int]:
    since = monitored_from(view)
    watched = [] if since is None else [w for w in context.timeline.ended_windows(context.now()) if w.end > since]
    return {
        "scored": sum(view.newest_report("health", window.id) is not None for window in watched),
        "labelled": sum(window.id in view.labelled for window in watched),
        "quarantined": len(view.quarantined),
    }


def _events(context: ProjectContext, view: LedgerView) -> dict[str, int]:
    counts = context.telemetry.counts(context.spec.name)
    missed, waiting = len(view.missed), len(view.waiting)
    return {
        "due": counts["answered"] + missed + waiting,
        "answered": counts["answered"],
        "late": counts["late"],
        "missed": missed,
    }


def _run_of(view: LedgerView, decision: str) -> str | None:
    runs = [fact.run_id for fact in view.started_trainings if fact.decision == decision]
    return runs[-1] if runs else None


def first_retrained_as_of(view: LedgerView) -> datetime | None:
    """`as_of` of the first version that a retraining brought to serve; None before."""
    found = next(
        (deployment_period for deployment_period in view.deployment_periods if deployment_period.cause == "retraining"),
        None,
    )
    return None if found is None else view.versions[found.version].as_of


def live_loss(context: ProjectContext, view: LedgerView, since: datetime | None = None) -> dict[str, Any]:
    """The losses of served, first model and baseline over the same events, due since the first retrained `as_of`."""
    nothing = {
        "metric": context.spec.problem.metric,
        "served": None,
        "first_model": None,
        "baseline": None,
        "windows": 0,
    }
    since = since or first_retrained_as_of(view)
    if since is None or view.first_version is None or view.deployment_period is None:
        return nothing
    labels = context.labels({window: fact.data_version for window, fact in view.labelled.items()})
    answers = context.telemetry.predictions(
        context.spec.name, since, context.now() + context.timeline.horizon, roles=("champion", "shadow")
    )
    found = compare_losses(
        spec=context.spec,
        timeline=context.timeline,
        answers=predictions_frame(context.spec.classes, answers),
        labels=labels,
        series=labels,
        first_version=view.first_version,
        since=since,
        known_until=view.versions[view.first_version].as_of,
    )
    return nothing if found is None else {"metric": context.spec.problem.metric, **found}


def render(name: str, facts: dict[str, Any]) -> RenderableType:
    """The same facts for people."""
    head = Table.grid(padding=(0, 2))
    champion, endpoint, events, windows = (facts[key] for key in ("champion", "endpoint", "events", "windows"))
    head.add_row("clock", facts["now"])
    head.add_row(
        "champion",
        "none yet"
        if champion is None
        else f"version {champion['version']}, trained through {champion['trained_through']}",
    )
    ready = "ready" if endpoint["ready"] else "not ready"
    head.add_row("endpoint", f"{endpoint['url'] or 'not running'} ({ready}, version {endpoint['model_version']})")
    head.add_row(
        "windows", f"{windows['scored']} scored, {windows['labelled']} labelled, {windows['quarantined']} quarantined"
    )
    head.add_row(
        "events",
        f"{events['due']} due, {events['answered']} answered ({events['late']} late), {events['missed']} missed",
    )
    head.add_row("retrainings", str(facts["retrainings"]))
    loss = facts["loss"]
    if loss["served"] is not None:
        head.add_row(
            f"loss ({loss['metric']})",
            f"served {loss['served']:.4g}, first model {loss['first_model']:.4g}, baseline {loss['baseline']:.4g} "
            f"over {loss['windows']} windows since the first retraining",
        )
    decisions = Table("at", "decision", "why", title="last decisions", title_justify="left")
    for decision in facts["decisions"]:
        decisions.add_row(decision["at"], decision["decision"], " ".join(decision["reasons"]))
    return Panel(Group(head, decisions), title=name, title_align="left")


def windows_table(context: ProjectContext, view: LedgerView) -> pd.DataFrame:
    """One row per watched window: start, losses, versions that served, decision and its reason."""
    since, rows = monitored_from(view), []
    for window in context.timeline.ended_windows(context.now()):
        if since is None or window.end <= since:
            continue
        report = view.newest_report("performance", window.id)
        decided = [d for d in view.decisions if d.window == window.id]
        summary = report.summary if report is not None else {}
        rows.append(
            {
                "window": window.start,
                "served": summary.get("served"),
                "shadow": summary.get("shadow"),
                "baseline": summary.get("baseline"),
                "version": report.version if report is not None else None,
                "decision": decided[-1].outcome if decided else None,
                "reason": decided[-1].reason if decided else None,
                "signals": ", ".join(e.signal for e in decided[-1].evidence) if decided else "",
            }
        )
    return pd.DataFrame(rows)
