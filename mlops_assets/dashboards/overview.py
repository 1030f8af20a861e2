"""The dashboard of all projects: served version, last decision, losses and failures of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlops_assets.charts.style import BLUE, GREY, ORANGE
from mlops_assets.dashboards import panels
from mlops_assets.dashboards.flux import BEGINNING, fields, newest, per_period, read, tag
from mlops_assets.dashboards.panels import Line
from mlops_assets.dashboards.project import backlog
from mlops_assets.spec import ProjectSpec

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Panel, RowPanel

UID = "mlops-overview"
_SOURCE = "${__field.labels.source}"


def overview_dashboard(specs: Sequence[ProjectSpec]) -> dict[str, Any]:
    """Return the dashboard as JSON. It shows each project's newest numbers, for any project time."""
    from grafana_foundation_sdk.builders import dashboard as builders

    made = builders.Dashboard("All projects").uid(UID).description("The newest numbers of each project.")
    dashboard = made.tags(["mlops-assets"]).timezone("browser").time("now-6h", "now").refresh("30s").build()
    shown: list[Panel | RowPanel] = []
    for spec in specs:
        shown += [panels.row(spec.name), *_numbers(spec)]
    backlogs = [
        Line(per_period(read("forwarder", spec.name, fields("backlog")), "max", ["source"]), f"{spec.name} {_SOURCE}")
        for spec in specs
    ]
    shown += [panels.row("Forwarder"), panels.curves("Records not forwarded yet", backlogs, least=0, width=panels.GRID)]
    dashboard.panels = panels.laid_out(shown)
    dashboard.annotations.list_val, dashboard.templating.list_val = [], []
    return panels.as_json(dashboard)


def _numbers(spec: ProjectSpec) -> list[Panel | RowPanel]:
    name, link = spec.name, f"/d/{panels.uid_of(spec.name)}"
    served = newest(read("promotion", name, tag("step", "PROMOTED"), fields("version"), since=BEGINNING))
    decided = newest(read("decision", name, fields("id"), since=BEGINNING), "r.outcome")
    losses = [
        Line(newest(read("performance", name, tag("stage", "labelled"), fields(side), since=BEGINNING)), label, colour)
        for side, label, colour in (
            ("served", "served", BLUE),
            ("shadow", "shadow model", ORANGE),
            ("baseline", "baseline", GREY),
        )
    ]
    share = newest(read("drift_report", name, fields("share"), since=BEGINNING))
    failures = [
        Line(newest(read("health", name, fields(field), since=BEGINNING)), label)
        for field, label in (("errors", "failed requests"), ("missed", "missed events"))
    ]
    return [
        panels.stat("Served version", [Line(served)], link=link, width=3),
        panels.stat("Last decision", [Line(decided)], link=link, width=3),
        panels.stat(f"Loss in the newest window ({spec.problem.metric})", losses, link=link, width=6),
        panels.stat(
            "Drifted columns", [Line(share)], unit="percentunit", limit=spec.monitoring.drift.share, link=link, width=4
        ),
        backlog(spec, link=link),
        panels.stat("Failures in the newest window", failures, limit=1, link=link),
    ]
