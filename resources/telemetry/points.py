"""Predictions, requests and facts as points of InfluxDB, in its line protocol.

The time of a point is project time, so a replay looks like live operation in the dashboards. Two points have the same
series and time only if they are the same record, so writing a record twice leaves one point. Tags have bounded
cardinality: ids of events and of decisions are fields.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from mlops_assets.ledger.facts import (
    AnyFact,
    Decided,
    EventMissed,
    GateVerdict,
    PromotionStep,
    Reported,
    TrainingEnded,
    WindowQuarantined,
)
from mlops_assets.ledger.summaries import DriftSummary, HealthSummary, PerformanceSummary
from mlops_assets.prediction.records import FIELDS, us
from mlops_assets.timeline import parse

Value = float | int | str | bool | None
RECORD_PART = 30_000
"""Characters of a record per field: InfluxDB accepts strings of up to 64 KiB."""
PER_MOMENT = 1_000_000
"""Nanoseconds over which records with the same time are spread, by their number."""
INPUTS, FEATURE_SET, FEATURES = FIELDS.index("inputs"), FIELDS.index("feature_set"), FIELDS.index("features")


@dataclass(frozen=True)
class FeatureSet:
    """A list of features, to which predictions refer by its id.

    Attributes:
        definition: JSON with the names in order, and the levels of the categorical features.
    """

    definition: str

    @property
    def id(self) -> str:
        """The id, a digest of the definition: it is the same in every log."""
        return hashlib.sha256(self.definition.encode()).hexdigest()[:16]

    @property
    def names(self) -> list[str]:
        """The names of the features, in order."""
        names: list[str] = orjson.loads(self.definition)["names"]
        return names

    @property
    def levels(self) -> dict[str, list[str]]:
        """By name of a categorical feature, the values that its codes 0, 1, ... stand for."""
        levels: dict[str, list[str]] = orjson.loads(self.definition)["levels"]
        return levels


class PredictionLines:
    """Rows of a prediction log as lines of the line protocol.

    Args:
        sets: the feature sets of the log, by their number in the log.
    """

    def __init__(self, sets: Mapping[int, FeatureSet]) -> None:
        self.ids = {number: found.id for number, found in sets.items()}
        self._keys = {number: [_key(name) for name in found.names] for number, found in sets.items()}
        self._levels = {
            number: {found.names.index(name): known for name, known in found.levels.items()}
            for number, found in sets.items()
        }

    def of(self, row: int, values: Sequence[Any]) -> Iterator[str]:
        """Return the lines of one row.

        Args:
            row: number of the row in the log.
            values: the row's values, in the order of `prediction.records.FIELDS`.
        """
        stored = dict(zip(FIELDS, values, strict=True))
        tags = {
            "project": stored["project"],
            "role": stored["role"],
            "model_version": str(stored["version"]),
            "dataset_version": stored["dataset"],
            "entity": stored["entity"],
        }
        at = stored["event_time"] * 1000
        if stored["role"] == "ad_hoc":  # there may be many requests for the same event
            at = stored["answered_at"] * 1000 + row % PER_MOMENT
        fields: dict[str, Value] = {
            "event_id": stored["event_id"],
            "late": bool(stored["late"]),
            "entity_known": bool(stored["entity_known"]),
            **_value(stored["prediction"], "prediction"),
        }
        for name, share in orjson.loads(stored["probabilities"] or "{}").items():
            fields[f"probability_{name}"] = share
        fields |= _record(to_record(row, values, self.ids[stored["feature_set"]]))
        yield line("answer", tags, fields, at)
        features = self._features(stored["feature_set"], stored["features"]) if stored["role"] != "shadow" else ""
        if features:
            yield f"feature{_tags(tags)} {features} {at}"

    def _features(self, number: int, data: bytes) -> str:
        values = np.frombuffer(data, dtype="<f8").tolist()
        levels = self._levels[number]
        parts = []
        for position, (key, value) in enumerate(zip(self._keys[number], values, strict=True)):
            if not math.isfinite(value):
                continue  # a missing value; the record holds it exactly
            known = levels.get(position)
            parts.append(f"{key}={value!r}" if known is None else f"{key}={_text(known[int(value)])}")
        return ",".join(parts)


def to_record(row: int, values: Sequence[Any], feature_set: str) -> str:
    """Return a row of the prediction log as JSON, without loss; its number comes first."""
    kept = list(values)
    kept[INPUTS], kept[FEATURES] = (base64.b64encode(values[at]).decode() for at in (INPUTS, FEATURES))
    kept[FEATURE_SET] = feature_set
    return orjson.dumps([row, *kept]).decode()


def from_record(text: str) -> tuple[int, tuple[Any, ...]]:
    """Return the number and values of a row from `to_record`; the feature set's id replaces its number."""
    row, *kept = orjson.loads(text)
    kept[INPUTS], kept[FEATURES] = (base64.b64decode(kept[at]) for at in (INPUTS, FEATURES))
    return int(row), tuple(kept)


def feature_set_line(project: str, found: FeatureSet, at: int) -> str:
    """Return the line of a feature set's definition, at the time of predictions that refer to it."""
    return line("feature_set", {"project": project, "set": found.id}, {"definition": found.definition}, at)


def request_line(project: str, row: int, values: Sequence[Any]) -> str:
    """Return the line of a request. Its time is project time if the request had one, else system time."""
    at, now, status, latency, role, rows, rss = values
    fields: dict[str, Value] = {
        "latency_ms": float(latency),
        "rows": int(rows),
        "rss": None if rss is None else int(rss),
        "record": orjson.dumps([row, *values]).decode(),
    }
    tags = {"project": project, "role": role or "ad_hoc", "status": str(status)}
    return line("request", tags, fields, (at if now is None else now) * 1000 + row % PER_MOMENT)


def label_lines(project: str, labels: Iterable[Mapping[str, Any]], target: str) -> Iterator[str]:
    """Return the lines of a window's labels.

    Args:
        project: name of the project.
        labels: rows with `event_time`, the label, and `entity` where there are several series.
        target: name of the label's column.
    """
    for row in labels:
        tags = {"project": project, "entity": row.get("entity")}
        yield line("truth", tags, _value(row[target], "value"), _ns(row["event_time"]))


def fact_lines(project: str, number: int, fact: AnyFact) -> Iterator[str]:
    """Return the lines of a fact. Kinds that no dashboard shows have none.

    Args:
        project: name of the project.
        number: id of the fact in the ledger.
        fact: the fact.
    """
    base = {"project": project}
    at = _ns(fact.at) + number % PER_MOMENT
    if isinstance(fact, Reported):
        yield from _report_lines(project, fact)
    elif isinstance(fact, Decided):
        found = fact.decision
        yield line(
            "decision",
            {**base, "outcome": found.outcome, "by": found.by},
            {
                "id": found.id,
                "reason": found.reason,
                "window": found.window,
                "signals": ",".join(item.signal for item in found.evidence),
            },
            at,
        )
    elif isinstance(fact, GateVerdict):
        losses = {name: getattr(fact, name) for name in ("champion_loss", "candidate_loss", "baseline_loss")}
        numbers = {"version": fact.version, "champion": fact.champion, "rows": fact.rows}
        fields = {**numbers, **losses, "reason": " ".join(fact.reasons)}
        yield line("verdict", {**base, "verdict": fact.verdict, "by": fact.by}, fields, at)
    elif isinstance(fact, PromotionStep):
        fields = {"version": fact.version, "previous": fact.previous, "reason": fact.reason}
        yield line("promotion", {**base, "step": fact.step, "cause": fact.cause}, fields, at)
    elif isinstance(fact, TrainingEnded):
        tags = {**base, "outcome": fact.outcome, "by": fact.by}
        yield line("training", tags, {"training": fact.training, "reason": fact.reason}, at)
    elif isinstance(fact, EventMissed):
        lost = {"event_id": fact.event_id, "reason": fact.reason}
        yield line("missed", base, lost, _ns(fact.event_time) + number % PER_MOMENT)
    elif isinstance(fact, WindowQuarantined):
        reason = " | ".join(fact.reasons)
        yield line("quarantined", {**base, "table": fact.table}, {"reason": reason}, _ns(parse(fact.window)))


def _report_lines(project: str, fact: Reported) -> Iterator[str]:
    tags = {"project": project, "stage": fact.stage, "model_version": str(fact.version)}
    at, summary = _ns(parse(fact.window)), fact.typed
    if isinstance(summary, DriftSummary):
        fields = {name: getattr(summary, name) for name in ("verdict", "share", "threshold", "rows")}
        yield line("drift_report", tags, fields, at)
        for column, distance in summary.columns.items():
            measured = {"distance": distance, "threshold": summary.threshold}
            yield line("drift", {**tags, "column": column, "statistic": summary.statistic}, measured, at)
        for statistic, distance in summary.prediction.items():
            where = {**tags, "column": "prediction", "statistic": statistic}
            yield line("drift", where, {"distance": distance}, at)
    elif isinstance(summary, PerformanceSummary):
        kept = ("pending", "served", "reign", "shadow", "baseline", "realised_gain", "promised_gain", "rows")
        stored = summary.model_dump()
        fields = {name: stored[name] for name in kept}
        yield line("performance", {**tags, "metric": summary.metric}, fields, at)
    elif isinstance(summary, HealthSummary):
        yield line("health", tags, summary.model_dump(), at)


# The line protocol: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/


def line(measurement: str, tags: Mapping[str, str | None], fields: Mapping[str, Value], at: int) -> str:
    """Return one point as a line. Tags and fields without a value are left out.

    Args:
        measurement: name of the measurement.
        tags: values by name of the tag.
        fields: values by name of the field, of which at least one is not None. A float is written as a float field,
            an int as an integer field.
        at: time in nanoseconds since 1970, UTC.
    """
    kept = ",".join(f"{_key(name)}={_field(value)}" for name, value in fields.items() if _has(value))
    return f"{measurement}{_tags(tags)} {kept} {at}"


def _has(value: Value) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _tags(tags: Mapping[str, str | None]) -> str:
    # InfluxDB writes sorted tags fastest
    return "".join(f",{name}={_key(tags[name] or '')}" for name in sorted(tags) if tags[name])


def _field(value: Value) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int):
        return f"{value}i"
    return _text(value) if isinstance(value, str) else repr(value)


def _key(text: str) -> str:
    escaped = text.replace("\\", "\\\\") if text.endswith("\\") else text
    return escaped.replace(",", r"\,").replace("=", r"\=").replace(" ", r"\ ").replace("\n", r"\ ")


def _text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _value(value: Any, name: str) -> dict[str, Value]:
    """Return the field of a value: a number under the given name, a class label as `label`."""
    return {"label": value} if isinstance(value, str) else {name: float(value)}


def _record(text: str) -> dict[str, Value]:
    parts = [text[start : start + RECORD_PART] for start in range(0, len(text), RECORD_PART)]
    return {"record" if number == 0 else f"record_{number}": part for number, part in enumerate(parts)}


def _ns(moment: datetime) -> int:
    return us(moment) * 1000
