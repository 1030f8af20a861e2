"""`provenance`: from a prediction back to the raw windows, and to the decision that started its model's training."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from mlops_assets.context import ProjectContext
from mlops_assets.errors import NotReady
from mlops_assets.timeline import iso


def trace(context: ProjectContext, event_id: str) -> dict[str, Any]:
    """Return every step behind the prediction of an event; times are ISO 8601 in UTC.

    Raises:
        NotReady: when the event has no prediction. The reason is named if the event was missed.
    """
    view = context.ledger_view()
    predictions = context.telemetry.predictions_for_events([event_id])
    champion = predictions[predictions["role"] == "champion"]
    if champion.empty:
        missed = view.missed.get(event_id)
        found = f"it was missed: {missed.reason}" if missed else "there is no prediction for it"
        raise NotReady(context.spec.name, f"event {event_id}", found, "use the `event_id` of a prediction")
    prediction = champion.iloc[0]
    version = view.versions[int(prediction["version"])]
    snapshot = context.snapshots.find(version.dataset_tag)
    decision = view.decision(version.decision) if version.decision else None
    window = context.timeline.window_at(prediction["event_time"].to_pydatetime())
    return {
        "prediction": prediction["prediction"],
        "event_time": iso(prediction["event_time"].to_pydatetime()),
        "due": iso(prediction["due"].to_pydatetime()),
        "window": window.id,
        "features": prediction["features"],
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
    """Return the steps as a table."""
    table = Table("step", "what", title=f"event {event_id}", title_justify="left", show_lines=True)
    table.add_row(
        "prediction", f"{found['prediction']} for {found['event_time']}, due {found['due']} (window {found['window']})"
    )
    features = list(found["features"].items())
    shown = ", ".join(f"{name}={_short(value)}" for name, value in features[:8])
    table.add_row("features", f"{shown}{' ...' if len(features) > 8 else ''} ({len(features)} in all)")
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
        "none: it was the first training, or a training by hand"
        if decision is None
        else f"{decision['id']} ({decision['by']}): {decision['reason']}",
    )
    return table


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
