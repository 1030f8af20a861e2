"""The dashboard of one project: predictions and labels, model, decisions, service, missing data."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mlops_assets.charts.style import ALARM, BLUE, CLASS_COLOURS, GREEN, GREY, ORANGE, SKY
from mlops_assets.dashboards import panels
from mlops_assets.dashboards.flux import (
    BEGINNING,
    ENTITY,
    band_edge,
    counted,
    events,
    fields,
    newest,
    newest_of_all,
    numbers,
    per_period,
    read,
    renamed,
    tag,
    tag_values,
    texts,
)
from mlops_assets.dashboards.panels import TEXT_COLOUR, Line
from mlops_assets.evaluation.error_band import HALF_WIDTH_IN_FLUX
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.policies import DriftPolicy, leaves
from mlops_assets.spec.project import ReplayClock
from mlops_assets.timeline import Timeline, iso

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Panel, RowPanel

LOWER = "error band, lower edge"
SHOWN_FEATURES = 6
"""Number of features that are shown at first; others can be chosen on the dashboard."""
LABELLED = tag("stage", "labelled")


def project_dashboard(spec: ProjectSpec) -> dict[str, Any]:
    """Return a project's dashboard as JSON.

    Its time axis is project time. With a replay clock it opens on the project's whole time range, otherwise on the last
    seven days and the horizon of predictions.
    """
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.models.dashboard import DashboardCursorSync

    start, end = time_range(spec)
    made = builders.Dashboard(spec.name).uid(panels.uid_of(spec.name)).description(spec.problem.statement)
    made = made.tags(["mlops-assets"]).timezone(spec.data.time_zone).time(start, end).refresh("30s")
    dashboard = made.tooltip(DashboardCursorSync.CROSSHAIR).build()
    dashboard.panels = panels.laid_out(
        [
            panels.row("Predictions"),
            *predictions(spec),
            panels.row("Model"),
            *model(spec),
            panels.row("Decisions"),
            *decisions(spec),
            panels.row("Service"),
            *service(spec),
            panels.row("Missing data"),
            *gaps(spec),
        ]
    )
    dashboard.annotations.list_val = marks(spec)
    dashboard.templating.list_val = choices(spec)
    return panels.as_json(dashboard)


def time_range(spec: ProjectSpec) -> tuple[str, str]:
    """Return the start and end of the time range at first, in Grafana's notation."""
    if not isinstance(spec.clock, ReplayClock):
        # predictions are made before their events
        ahead = int(spec.data.horizon.total_seconds())
        return "now-7d", f"now+{ahead}s" if ahead else "now"
    timeline = Timeline(spec)
    return iso(timeline.start), iso(timeline.end) if timeline.end is not None else "now"


def predictions(spec: ProjectSpec) -> list[Panel | RowPanel]:
    """Return the panels of predictions, labels and features."""
    known = spec.features.known
    shown: list[Panel | RowPanel] = []
    shown += [numeric_predictions(spec)] if spec.problem.task == "regression" else [classes(spec), probabilities(spec)]
    seen = read("feature", spec.name, tag("role", "champion"), "r._field =~ /^${feature:regex}$/", _entity(spec))
    lines = [Line(per_period(renamed(numbers(seen), _field="feature"), "mean", ["feature"]), _labelled("feature"))]
    note = "features that the champion received; choose others under `feature` above"
    shown.append(panels.curves("Live features", lines, interval=_every(spec), description=note))
    if any(spec.data.columns[name].dtype == "category" for name in known):
        categories = per_period(renamed(texts(seen), _field="feature"), "last", ["feature"])
        values = sorted({str(value) for name in known for value in spec.data.columns[name].isin or []})
        shown.append(
            panels.states(
                "Live categorical features",
                [Line(categories, _labelled("feature"))],
                values,
                interval=_every(spec),
                width=12,
            )
        )
    return shown


def numeric_predictions(spec: ProjectSpec) -> Panel:
    """Return the panel of predicted numbers and labels over time, with the error band."""
    served, shadow = (_predicted(spec, role, "prediction", "mean") for role in ("champion", "shadow"))
    loss = newest(read("performance", spec.name, LABELLED, fields("served"), since=BEGINNING))
    half = HALF_WIDTH_IN_FLUX[spec.problem.metric]
    label = per_period(read("truth", spec.name, fields("value"), _entity(spec)), "mean")
    lines = [
        Line(band_edge(served, loss, f"r._value - {half}"), LOWER, SKY, width=0),
        Line(band_edge(served, loss, f"r._value + {half}"), "error band, upper edge", SKY, width=0, fill_to=LOWER),
        Line(shadow, "shadow model", ORANGE),
        Line(label, "label", TEXT_COLOUR, width=2),
        Line(served, "served", BLUE, width=2),
    ]
    note = "error band: the prediction plus and minus the served loss in the newest labelled window"
    return panels.curves(
        f"Predictions and labels: {spec.problem.target}",
        lines,
        description=note + ("; mean of the chosen series" if spec.data.entity else ""),
        interval=_every(spec),
        width=panels.GRID,
    )


def classes(spec: ProjectSpec) -> Panel:
    """Return the panel of predicted classes and labels over time."""
    by = ["entity"] if spec.data.entity else []
    of = " ${__field.labels.entity}" if by else ""
    label = per_period(read("truth", spec.name, fields("label"), _entity(spec)), "last", by)
    lines = [
        Line(label, f"label{of}"),
        Line(_predicted(spec, "champion", "label", "last", by), f"served{of}"),
        Line(_predicted(spec, "shadow", "label", "last", by), f"shadow model{of}"),
    ]
    title = f"Predicted classes and labels: {spec.problem.target}"
    return panels.states(title, lines, spec.classes, interval=_every(spec))


def probabilities(spec: ProjectSpec) -> Panel:
    """Return the panel of the predicted probability of each class."""
    lines = [
        Line(_predicted(spec, "champion", f"probability_{name}", "mean"), name, CLASS_COLOURS[n % 8])
        for n, name in enumerate(spec.classes)
    ]
    return panels.curves("Probability of each class", lines, unit="percentunit", interval=_every(spec), least=0)


def model(spec: ProjectSpec) -> list[Panel | RowPanel]:
    """Return the panels of losses, gain and drift."""
    chosen = spec.monitoring.drift
    distance, limit = (
        read("drift", spec.name, tag("statistic", chosen.statistic), 'r.column != "prediction"', fields(field))
        for field in ("distance", "threshold")
    )
    columns = [
        Line(per_period(distance, "last", ["column"]), _labelled("column")),
        Line(per_period(limit, "last"), "threshold", ALARM, dashed=True, width=2),
    ]
    share, share_limit = (read("drift_report", spec.name, fields(field)) for field in ("share", "threshold"))
    shares = [
        Line(per_period(share, "last"), "drifted columns", BLUE, width=2),
        Line(per_period(share_limit, "last"), "threshold", ALARM, dashed=True),
    ]
    losses = [
        Line(per_period(read("performance", spec.name, LABELLED, fields(side)), "last"), name, colour, dashed, width)
        for side, name, colour, dashed, width in (
            ("baseline", "baseline", GREY, True, 1),
            ("shadow", "shadow model", ORANGE, False, 1),
            ("served", "served", BLUE, False, 2),
        )
    ]
    gains = [
        Line(per_period(read("performance", spec.name, LABELLED, fields(field)), "last"), name, colour)
        for field, name, colour in (("promised_gain", "expected", GREY), ("realised_gain", "actual", GREEN))
    ]
    return [
        panels.curves(f"Loss per window ({spec.problem.metric})", losses, least=0),
        panels.curves(
            "Gain since last promotion (expected and actual)",
            gains,
            unit="percentunit",
            description="1 - loss / loss of the shadow model: expected on the hold-out, actual since the promotion",
        ),
        panels.curves(f"Drift per column ({chosen.statistic})", columns, least=0),
        panels.curves("Share of drifted columns", shares, unit="percentunit", least=0, width=6),
        _prediction_drift(spec),
    ]


def _prediction_drift(spec: ProjectSpec) -> Panel:
    limits = [each for each in leaves(spec.retraining.when) if isinstance(each, DriftPolicy) and each.statistic]
    distance = read("drift", spec.name, tag("column", "prediction"), fields("distance"))
    return panels.curves(
        "Drift of predictions",
        [Line(per_period(distance, "last", ["statistic"]), _labelled("statistic"))],
        limit=limits[0].threshold if limits else None,
        description="threshold of the retraining policy" if limits else "no retraining policy uses it",
        least=0,
        width=6,
    )


def decisions(spec: ProjectSpec) -> list[Panel | RowPanel]:
    """Return the tables of decisions, verdicts, promotions and trainings, with their reasons."""
    decided = events(
        read("decision", spec.name, fields("id", "reason", "window", "signals")),
        decision="r.outcome",
        reason="r.reason",
        signals="r.signals",
        window="r.window",
        by="r.by",
        id="r.id",
    )
    verdicts = events(
        read("verdict", spec.name, fields("version", "candidate_loss", "champion_loss", "baseline_loss", "reason")),
        verdict="r.verdict",
        version="r.version",
        candidate="r.candidate_loss",
        champion="r.champion_loss",
        baseline="r.baseline_loss",
        reason="r.reason",
    )
    promoted = events(
        read("promotion", spec.name, fields("version", "previous", "reason")),
        step="r.step",
        version="r.version",
        previous="r.previous",
        cause="r.cause",
        reason="r.reason",
    )
    trained = events(
        read("training", spec.name, fields("training", "reason")),
        outcome="r.outcome",
        by="r.by",
        training="r.training",
        reason="r.reason",
    )
    return [
        panels.table("Decisions of the policy", decided, width=panels.GRID),
        panels.table("Verdicts of the gate", verdicts, width=panels.GRID),
        panels.table("Promotions and rollbacks", promoted),
        panels.table("Trainings", trained),
    ]


def service(spec: ProjectSpec) -> list[Panel | RowPanel]:
    """Return the panels of the service's requests and memory, and of the forwarder's backlog."""
    not_shadow = 'r.role != "shadow"'
    successful = read("request", spec.name, fields("latency_ms"), not_shadow, "r.status =~ /^2/")
    latency = [
        Line(per_period(successful, f"(column, tables=<-) => tables |> quantile(q: {q}, column: column)"), name, colour)
        for q, name, colour in (("0.5", "p50", BLUE), ("0.95", "p95", ORANGE))
    ]
    rows = read("request", spec.name, fields("rows"), not_shadow)
    failures = [
        Line(counted(rows, f"r.status =~ /^{first}/"), name, colour)
        for first, name, colour in (("5", "failed (5xx)", ALARM), ("4", "refused (4xx)", GREY))
    ]
    availability = Line(per_period(read("health", spec.name, fields("availability")), "last"), "availability", GREEN)
    memory = Line(per_period(read("request", spec.name, fields("rss")), "max"), "memory", BLUE)
    milliseconds = spec.serving.latency.total_seconds() * 1000
    return [
        panels.curves("Latency of requests", latency, unit="ms", limit=milliseconds, least=0, width=8),
        panels.curves(
            "Throughput",
            [Line(per_period(rows, "sum", ["role"]), _labelled("role"))],
            description="requested rows per period of the time axis",
            least=0,
            width=8,
        ),
        panels.curves("Errors", failures, description="requests per period of the time axis", least=0, width=8),
        panels.curves(
            "Availability",
            [availability],
            unit="percentunit",
            description="share of due events that have a prediction",
            width=8,
        ),
        panels.curves("Memory", [memory], unit="bytes", least=0, width=8),
        backlog(spec, width=8),
    ]


def backlog(spec: ProjectSpec, width: int = 4, link: str = "") -> Panel:
    """Return the panel of the records that have not been forwarded yet, now in system time."""
    waiting, oldest = (
        newest_of_all(read("forwarder", spec.name, fields(field), since="-1h", until="now()"), how)
        for field, how in (("backlog", "sum"), ("oldest_s", "max"))
    )
    return panels.stat(
        "Records not forwarded yet",
        [Line(waiting, "records"), Line(oldest, "waiting time, s")],
        link=link,
        description="newest values of the last hour of system time, for any time range of the dashboard",
        width=width,
    )


def gaps(spec: ProjectSpec) -> list[Panel | RowPanel]:
    """Return the tables of events without a prediction, and of windows in quarantine."""
    missed = events(read("missed", spec.name, fields("event_id", "reason")), event="r.event_id", reason="r.reason")
    # a column named `table` would clash with Flux's own
    held = events(read("quarantined", spec.name, fields("reason")), data="r.table", reason="r.reason")
    return [panels.table("Missed events", missed), panels.table("Windows in quarantine", held)]


def marks(spec: ProjectSpec) -> list[Any]:
    """Return the annotations that mark decisions to retrain and promotions in all curves."""
    retrained = events(
        read("decision", spec.name, tag("outcome", "RETRAIN"), fields("reason", "signals")), text="r.reason"
    )
    promoted = events(
        read("promotion", spec.name, tag("step", "PROMOTED"), fields("version")),
        text='"version " + string(v: r.version) + " serves (" + r.cause + ")"',
    )
    return [
        panels.annotation("Retrainings", retrained, ALARM),
        panels.annotation("Promotions", promoted, GREEN),
    ]


def choices(spec: ProjectSpec) -> list[Any]:
    """Return the template variables: the features that are shown, and the series."""
    found = [
        panels.choice(
            "feature",
            "feature",
            'import "influxdata/influxdb/schema"\n'
            "schema.fieldKeys(bucket: v.defaultBucket, "
            f'predicate: (r) => r._measurement == "feature" and r.project == "{spec.name}", '
            "start: v.timeRangeStart)",
            spec.features.known[:SHOWN_FEATURES],
        )
    ]
    if spec.data.entity:
        found.append(panels.choice("entity", spec.data.entity, tag_values("entity", "answer", spec.name)))
    return found


def _predicted(spec: ProjectSpec, role: str, field: str, how: str, by: list[str] | None = None) -> str:
    return per_period(read("answer", spec.name, tag("role", role), fields(field), _entity(spec)), how, by or [])


def _entity(spec: ProjectSpec) -> str:
    return ENTITY if spec.data.entity else ""


def _labelled(name: str) -> str:
    """Return the series name that Grafana takes from a label."""
    return f"${{__field.labels.{name}}}"


def _every(spec: ProjectSpec) -> str:
    """Return the shortest period of the time axis: the interval between the project's events."""
    return f"{spec.data.every // timedelta(seconds=1)}s"
