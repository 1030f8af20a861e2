"""The queries in a dashboard's JSON, and the measurements in InfluxDB that they may use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


def flux_queries(dashboard: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return all queries in a dashboard's JSON, each with the title of its panel, annotation or variable."""
    found = [
        (str(panel["title"]), str(target["query"]))
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]
    found += [(str(each["name"]), str(each["target"]["query"])) for each in dashboard["annotations"]["list"]]
    return found + [(str(each["name"]), str(each["query"])) for each in dashboard["templating"]["list"]]


def with_range(
    query: str,
    start: datetime,
    stop: datetime,
    period: timedelta,
    bucket: str = "mlops",
    variables: Mapping[str, str] | None = None,
) -> str:
    """Return a query with Grafana's variables filled in, as Grafana sends it to InfluxDB.

    Args:
        query: a query of `flux_queries`.
        start: start of the time axis.
        stop: end of the time axis.
        period: length of a period, in whole seconds.
        bucket: the data source's bucket.
        variables: regular expressions of template variables by name; others match all values.
    """
    fills = variables or {}
    filled = re.sub(r"\$\{(\w+):regex\}", lambda found: fills.get(found[1], ".*"), query)
    lines = filled.splitlines()
    # Flux requires imports first
    imports = [line for line in lines if line.startswith("import ")]
    rest = [line for line in lines if not line.startswith("import ")]
    option = (
        f"option v = {{timeRangeStart: {_literal(start)}, timeRangeStop: {_literal(stop)}, "
        f'windowPeriod: {int(period.total_seconds())}s, defaultBucket: "{bucket}"}}'
    )
    return "\n".join([*imports, option, *rest])


def _literal(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Measurement:
    """One measurement. All have the tag `project`. Their time is project time; only `forwarder` has system time.

    Attributes:
        tags: names of the tags besides `project`; `entity` only if a project has several series.
        fields: names of the fields; a point has those for which there is a value.
        open_fields: whether there are further fields that depend on the project: features, or `probability_<class>`.
    """

    tags: tuple[str, ...]
    fields: tuple[str, ...]
    open_fields: bool = False


_PREDICTION_TAGS = ("role", "model_version", "dataset_version", "entity")
MEASUREMENTS = {
    "answer": Measurement(
        _PREDICTION_TAGS, ("event_id", "prediction", "label", "late", "entity_known", "record"), open_fields=True
    ),
    "feature": Measurement(_PREDICTION_TAGS, (), open_fields=True),
    "request": Measurement(("role", "status"), ("latency_ms", "rows", "rss", "record")),
    "truth": Measurement(("entity",), ("value", "label")),
    "drift": Measurement(("column", "statistic", "stage", "model_version"), ("distance", "threshold")),
    "drift_report": Measurement(("stage", "model_version"), ("verdict", "share", "threshold", "rows")),
    "performance": Measurement(
        ("stage", "metric", "model_version"),
        ("pending", "served", "reign", "shadow", "baseline", "realised_gain", "promised_gain", "rows"),
    ),
    "health": Measurement(
        ("stage", "model_version"),
        ("requests", "errors", "late", "missed", "lost", "availability", "p50_ms", "p95_ms", "p99_ms", "memory_mb"),
    ),
    "decision": Measurement(("outcome", "by"), ("id", "reason", "window", "signals")),
    "verdict": Measurement(
        ("verdict", "by"),
        ("version", "champion", "champion_loss", "candidate_loss", "baseline_loss", "rows", "reason"),
    ),
    "promotion": Measurement(("step", "cause"), ("version", "previous", "reason")),
    "training": Measurement(("outcome", "by"), ("training", "reason")),
    "missed": Measurement((), ("event_id", "reason")),
    "quarantined": Measurement(("table",), ("reason",)),
    "forwarder": Measurement(("source",), ("backlog", "written", "oldest_s")),
}
