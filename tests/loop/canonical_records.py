"""The canonical records of a project: what must be equal however often, with how many commands or where it is replayed.

They hold everything that the loop stores, without run ids, wall times and commits.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pandas as pd

from mlops_assets.ledger.facts import (
    Decided,
    EventMissed,
    GateVerdict,
    Reported,
    VersionTrained,
    WindowLabelled,
    WindowPublished,
    WindowQuarantined,
)
from mlops_assets.prediction.schema import InputSchema
from mlops_assets.resources.project import ProjectResources
from mlops_assets.timeline import iso

Records = dict[str, list[dict[str, Any]]]
RUNS = {"run_id", "training", "mlflow_run", "digest", "dataset_tag", "wall_time"}
"""Fields that name a run or depend on its time. Equal trainings give equal predictions, but other model files."""
MEASURED = {"p50_ms", "p95_ms", "p99_ms", "memory_mb"}
"""Fields of `service_health` that are measured in wall time."""


def canonical(context: ProjectResources, until: datetime | None = None) -> Records:
    """Return all canonical records of a project, or those up to a time.

    Of events later than `until` that were predicted by then, only what depends on past values is kept. The values of
    their known columns, and what depends on them, lie after `until`.
    """
    view = context.ledger_view()
    facts: dict[str, Any] = {
        "published": view.of(WindowPublished),
        "labelled": view.of(WindowLabelled),
        "quarantined": view.of(WindowQuarantined),
        "missed": view.of(EventMissed),
        "reports": view.of(Reported),
        "decisions": view.of(Decided),
        "verdicts": view.of(GateVerdict),
        "datasets": view.of(VersionTrained),
    }
    found = {
        name: [_plain(fact.model_dump(mode="json")) for fact in kept if until is None or fact.at <= until]
        for name, kept in facts.items()
    }
    periods = [period.model_dump(mode="json", exclude={"end", "promotion"}) for period in view.deployment_periods]
    found["deployment periods"] = [r for r in periods if until is None or datetime.fromisoformat(r["start"]) <= until]
    found["predictions"] = _predictions(context, until)
    return found


def text(records: Records) -> str:
    """Return the records as text. Two replays are equal when their texts are."""
    return json.dumps(records, sort_keys=True, indent=1)


def differences(one: Records, other: Records) -> list[str]:
    """Return a text for each difference between the records of two replays."""
    found = []
    for name in one:
        first, second = ([json.dumps(item, sort_keys=True) for item in records[name]] for records in (one, other))
        if len(first) != len(second):
            found.append(f"{name}: {len(first)} and {len(second)}")
        pairs = enumerate(zip(first, second, strict=False))
        found += [f"{name} {position}: {a}\n  and {b}" for position, (a, b) in pairs if a != b]
    return found


def _plain(fact: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in fact.items() if name not in RUNS}
    if kept["kind"] == "report" and kept["report"] != "performance":
        # the versions of published predictions depend on their content, which has wall times
        kept["inputs"] = sorted(kept["inputs"])
        kept["summary"] = {name: value for name, value in kept["summary"].items() if name not in MEASURED}
    if kept["kind"] == "decision" and kept["decision"]["by"] == "person":
        kept["decision"] = {name: value for name, value in kept["decision"].items() if name != "id"}
    return kept


def _predictions(context: ProjectResources, until: datetime | None) -> list[dict[str, Any]]:
    timeline, spec = context.timeline, context.spec
    end = pd.Timestamp.max.tz_localize("UTC").to_pydatetime(warn=False)
    frame = context.telemetry.predictions(spec.name, timeline.start, end, roles=("champion", "shadow"))
    schema = InputSchema.of(spec)
    fields = {schema.history_field(column): column for column in schema.history}
    found = []
    for row in frame.to_dict("records"):
        due, event_time = row["due"].to_pydatetime(), row["event_time"].to_pydatetime()
        if until is not None and due > until:
            continue
        record = {
            "event": row["event_id"],
            "role": row["role"],
            "version": row["version"],
            "event_time": iso(event_time),
            "due": iso(due),
            "requested": iso(row["now"].to_pydatetime()),
            "late": row["late"],
            "entity": row["entity"],
            "entity_known": row["entity_known"],
            "inputs": row["inputs"],
            "features": row["features"],
            "prediction": row["prediction"],
            "probabilities": row["probabilities"],
        }
        found.append(record if until is None or event_time < until else _of_the_past(record, fields))
    return found


def _of_the_past(record: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    """Return a prediction's record without what depends on the known columns of its event.

    Args:
        record: the record.
        fields: columns with past values, by their names in a request.
    """
    summed_up = tuple(f"{column}__" for column in fields.values())
    return {
        **record,
        "inputs": {name: value for name, value in record["inputs"].items() if name in fields},
        "features": {name: value for name, value in record["features"].items() if name.startswith(summed_up)},
        "prediction": None,
        "probabilities": None,
    }
