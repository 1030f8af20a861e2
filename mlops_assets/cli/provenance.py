"""`provenance`: from a prediction back to the raw windows, and to the decision that had its model trained."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from mlops_assets.context import ProjectContext
from mlops_assets.errors import NotReady
from mlops_assets.timeline import iso


def trace(context: ProjectContext, event_id: str) -> dict[str, Any]:
    """Every step behind an event's answer.

    Raises:
        NotReady: when the event has no answer; a missed one is named with its reason.
    """
    view = context.ledger_view()
    answers = context.telemetry.predictions_for_events([event_id])
    champion = answers[answers["role"] == "champion"]
    if champion.empty:
        missed = view.missed.get(event_id)
        found = f"it was missed: {missed.reason}" if missed else "no answer stands for it"
        raise NotReady(context.spec.name, f"event {event_id}", found, "take an id from an answer (`event_id`)")
    answer = champion.iloc[0]
    version = view.versions[int(answer["version"])]
    snapshot = context.snapshots.find(version.dataset_tag)
    decision = view.decision(version.decision) if version.decision else None
    window = context.timeline.window_at(answer["event_time"].to_pydatetime())
    return {
        "prediction": answer["prediction"],
        "event_time": iso(answer["event_time"].to_pydatetime()),
        "due": iso(answer["due"].to_pydatetime()),
        "window": window.id,
        "features": answer["features"],
        "model_version": version.version,
        "mlflow_run": version.mlflow_run,
        "trained_as_of": iso(version.as_of),
        "trained_through": iso(version.trained_through),
        "dataset_md5": version.dataset,
        "git_tag": version.dataset_tag,
        "raw_windows": snapshot.windows,
        "training": version.training,
        "decision": None
        if decision is None
        else {"id": decision.id, "by": decision.by, "at": iso(decision.at), "reason": decision.reason},
    }


def render(event_id: str, found: dict[str, Any]) -> Table:
    """The same for people."""
    table = Table("step", "what", title=f"event {event_id}", title_justify="left", show_lines=True)
    table.add_row(
        "prediction", f"{found['prediction']} for {found['event_time']}, due {found['due']} (window {found['window']})"
    )
    strongest = list(found["features"].items())
    shown = ", ".join(f"{name}={_short(value)}" for name, value in strongest[:8])
    table.add_row("features", f"{shown}{' ...' if len(strongest) > 8 else ''} ({len(strongest)} in all)")
    table.add_row(
        "model version",
        f"{found['model_version']}, trained as of {found['trained_as_of']}, through {found['trained_through']}",
    )
    table.add_row("MLflow run", found["mlflow_run"])
    table.add_row("dataset", f"md5 {found['dataset_md5']}, Git tag {found['git_tag']}")
    windows = sorted(found["raw_windows"])
    table.add_row("raw windows", f"{len(windows)}: {windows[0]} to {windows[-1]}")
    decision = found["decision"]
    table.add_row(
        "decision",
        "none: the first training"
        if decision is None
        else f"{decision['id']} ({decision['by']}): {decision['reason']}",
    )
    return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
