"""What lies in InfluxDB: measurements, their tags and fields. The forwarder writes them, dashboards read them.

All have the tag `project`. Their time axis is the project's, so that a replayed history can be looked at; only
`forwarder`'s is the wall's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One measurement.

    Attributes:
        tags: beside `project`; `entity` only where a project has several series.
        fields: by name; a point holds those it has a value for.
        open_fields: fields are named by the project, too: features, or `probability_<class>`.
    """

    tags: tuple[str, ...]
    fields: tuple[str, ...]
    open_fields: bool = False


_OF_ANSWERS = ("role", "model_version", "dataset_version", "entity")
MEASUREMENTS = {
    "answer": Measurement(
        _OF_ANSWERS, ("event_id", "prediction", "label", "late", "entity_known", "record"), open_fields=True
    ),
    "feature": Measurement(_OF_ANSWERS, (), open_fields=True),
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
        ("requests", "errors", "late", "missed", "availability", "p50_ms", "p95_ms", "p99_ms", "memory_mb"),
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
