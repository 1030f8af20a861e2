"""The measurements in InfluxDB, with their tags and fields. The forwarder writes them, dashboards read them.

All have the tag `project`. Their time is project time, also in a replay; only `forwarder` has system time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One measurement.

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
