"""`status`: what is true of a project now. `project_status` is a contract that other tools read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from mlops_assets.errors import EndpointError
from mlops_assets.monitoring.observation import answers_frame
from mlops_assets.monitoring.performance import compare_losses
from mlops_assets.retraining.history import History
from mlops_assets.retraining.outstanding import watched_from
from mlops_assets.timeline import iso
from resources.platform import Desk

LAST = 10
"""Decisions and verdicts shown; all of them are in the ledger."""


def project_status(desk: Desk) -> dict[str, Any]:
    """The facts of one project; times are ISO 8601 in UTC."""
    history = desk.history()
    return {
        "now": iso(desk.now()),
        "champion": _champion(history),
        "endpoint": _endpoint(desk),
        "windows": _windows(desk, history),
        "events": _events(desk, history),
        "retrainings": sum(f.outcome == "JUDGED" and f.by in ("policy", "person") for f in history.ended),
        "decisions": [
            {
                "id": d.id,
                "at": iso(d.at),
                "decision": d.outcome,
                "reasons": [d.reason],
                "run_id": _run_of(history, d.id),
            }
            for d in history.decisions[-LAST:]
        ],
        "verdicts": [
            {
                "at": iso(v.at),
                "verdict": v.verdict,
                "version": v.version,
                "champion_loss": v.champion_loss,
                "candidate_loss": v.candidate_loss,
            }
            for v in history.verdicts[-LAST:]
        ],
        "loss": live_loss(desk, history),
    }


def _champion(history: History) -> dict[str, Any] | None:
    if history.reign is None:
        return None
    version = history.versions[history.reign.version]
    return {
        "version": version.version,
        "dataset": version.dataset,
        "as_of": iso(version.as_of),
        "trained_through": iso(version.trained_through),
    }


def _endpoint(desk: Desk) -> dict[str, Any]:
    try:
        found = desk.endpoint.service.status()
    except EndpointError:
        # It runs and does not answer: that is a fact about it, not a fault of asking.
        return {"url": desk.endpoint.url, "model_version": None, "dataset": None, "ready": False}
    champion = (found or {}).get("champion") or {}
    return {
        "url": desk.endpoint.url,
        "model_version": champion.get("version"),
        "dataset": champion.get("dataset"),
        "ready": bool(found and found["ready"]),
    }


def _windows(desk: Desk, history: History) -> dict[str, int]:
    since = watched_from(desk.timeline, history)
    watched = [] if since is None else [w for w in desk.timeline.ended_windows(desk.now()) if w.end > since]
    return {
        "scored": sum(history.newest_report("health", window.id) is not None for window in watched),
        "labelled": sum(window.id in history.labelled for window in watched),
        "quarantined": len(history.quarantined),
    }


def _events(desk: Desk, history: History) -> dict[str, int]:
    counts = desk.telemetry.counts(desk.spec.name)
    missed, waiting = len(history.missed), len(history.waiting)
    return {
        "due": counts["answered"] + missed + waiting,
        "answered": counts["answered"],
        "late": counts["late"],
        "missed": missed,
    }


def _run_of(history: History, decision: str) -> str | None:
    runs = [fact.run_id for fact in history.started if fact.decision == decision]
    return runs[-1] if runs else None


def first_retrained_as_of(history: History) -> datetime | None:
    """`as_of` of the first version that a retraining brought to serve; None before."""
    found = next((reign for reign in history.reigns if reign.cause == "retraining"), None)
    return None if found is None else history.versions[found.version].as_of


def live_loss(desk: Desk, history: History, since: datetime | None = None) -> dict[str, Any]:
    """The losses of served, first model and baseline over the same events, due since the first retrained `as_of`."""
    nothing = {"metric": desk.spec.problem.metric, "served": None, "first_model": None, "baseline": None, "windows": 0}
    since = since or first_retrained_as_of(history)
    if since is None or history.first_version is None or history.reign is None:
        return nothing
    labels = desk.labels({window: fact.data_version for window, fact in history.labelled.items()})
    answers = desk.telemetry.answers(
        desk.spec.name, since, desk.now() + desk.timeline.horizon, roles=("champion", "shadow")
    )
    found = compare_losses(
        spec=desk.spec,
        timeline=desk.timeline,
        answers=answers_frame(desk.spec.classes, answers),
        labels=labels,
        series=labels,
        first_version=history.first_version,
        since=since,
        known_until=history.versions[history.first_version].as_of,
    )
    return nothing if found is None else {"metric": desk.spec.problem.metric, **found}


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


def windows_table(desk: Desk, history: History) -> pd.DataFrame:
    """One row per watched window: start, losses, versions that served, decision and its reason."""
    since, rows = watched_from(desk.timeline, history), []
    for window in desk.timeline.ended_windows(desk.now()):
        if since is None or window.end <= since:
            continue
        report = history.newest_report("performance", window.id)
        decided = [d for d in history.decisions if d.window == window.id]
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
