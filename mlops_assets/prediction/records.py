"""What the answer log holds, and how it is written: answers, to the bit, and lines of the request log."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd

from mlops_assets.timeline import Times

Role = Literal["champion", "shadow", "ad_hoc"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class PredictionRecord:
    """One answer, with all that led to it."""

    event_id: str
    role: Role
    version: int
    dataset: str
    project: str
    entity: str | None
    event_time: datetime
    due: datetime | None
    """None for `ad_hoc`: only the scorer knows when an event's answer was due."""
    answered_at: datetime
    """On the wall's clock."""
    now: datetime | None
    """The project's time when it was asked, as far as the service was told."""
    late: bool
    entity_known: bool
    inputs: Mapping[str, Any]
    """The request's row; `from_records` gives the model's inputs again, to the bit."""
    feature_set: int | str
    """From `PredictionLog.feature_set`; as InfluxDB has it, `FeatureSet.id`."""
    features: npt.NDArray[np.float64]
    """(k,), in the feature set's order."""
    prediction: float | str
    probabilities: dict[str, float] | None


@dataclass(frozen=True)
class RequestLine:
    """One request to the service, answered or not."""

    at: datetime
    now: datetime | None
    status: int
    latency_ms: float
    role: str
    rows: int


@dataclass(frozen=True)
class ServiceHealth:
    """How the service did over a stretch of the project's time."""

    requests: int
    errors: int
    """Answered with a status of 500 or more; what a client did wrong (4xx) is no error of the service."""
    client_errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    memory_mb: float | None
    """The most that the process held."""


@dataclass(frozen=True)
class Pending:
    """A champion's answer that a shadow has not predicted yet."""

    row: int
    answer: PredictionRecord = field(repr=False)


FIELDS = (
    "event_id",
    "role",
    "version",
    "dataset",
    "project",
    "entity",
    "event_time",
    "due",
    "answered_at",
    "now",
    "late",
    "entity_known",
    "inputs",
    "feature_set",
    "features",
    "prediction",
    "probabilities",
)
FEATURE_SET = FIELDS.index("feature_set")
FRAME_COLUMNS = [name for name in FIELDS if name not in ("feature_set", "features")]
COLUMNS = ", ".join(FIELDS)


def us(moment: datetime) -> int:
    """An aware time as microseconds since 1970, UTC."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def maybe_us(moment: datetime | None) -> int | None:
    """`us`, or None for None."""
    return None if moment is None else us(moment)


def moment_of(value: int) -> datetime:
    """The inverse of `us`."""
    return EPOCH + timedelta(microseconds=value)


def times_of(values: Times) -> list[datetime]:
    """datetime64[ns] values in UTC as aware times."""
    return [
        EPOCH + timedelta(microseconds=value) for value in values.astype("datetime64[us]").astype(np.int64).tolist()
    ]


def to_row(answer: PredictionRecord) -> tuple[Any, ...]:
    """An answer as a row of the table, in the order of `FIELDS`."""
    return (
        answer.event_id,
        answer.role,
        answer.version,
        answer.dataset,
        answer.project,
        answer.entity,
        us(answer.event_time),
        maybe_us(answer.due),
        us(answer.answered_at),
        maybe_us(answer.now),
        answer.late,
        answer.entity_known,
        # JSON keeps every float64 exactly (shortest form that reads back the same)
        zlib.compress(orjson.dumps(dict(answer.inputs)), 1),
        answer.feature_set,
        answer.features.astype("<f8").tobytes(),
        answer.prediction,
        None if answer.probabilities is None else orjson.dumps(answer.probabilities).decode(),
    )


def from_row(row: tuple[Any, ...]) -> PredictionRecord:
    """The inverse of `to_row`."""
    values = dict(zip(FIELDS, row, strict=True))
    for name in ("event_time", "due", "answered_at", "now"):
        values[name] = None if values[name] is None else moment_of(values[name])
    values["late"], values["entity_known"] = bool(values["late"]), bool(values["entity_known"])
    values["inputs"] = orjson.loads(zlib.decompress(values["inputs"]))
    values["features"] = np.frombuffer(values["features"], dtype="<f8")
    values["probabilities"] = None if values["probabilities"] is None else orjson.loads(values["probabilities"])
    return PredictionRecord(**values)


def named(features: npt.NDArray[np.float64], names: list[str], levels: dict[str, list[str]]) -> dict[str, Any]:
    """Features by name, categories as their levels (None = missing)."""
    named: dict[str, Any] = dict(zip(names, features.tolist(), strict=True))
    for name, known in levels.items():
        code = named[name]
        named[name] = None if code != code else known[int(code)]
    return named


def frame_of(
    answers: Sequence[PredictionRecord], sets: Mapping[Any, tuple[list[str], dict[str, list[str]]]]
) -> pd.DataFrame:
    """Answers as a frame, one row each, in their order.

    Args:
        answers: the answers.
        sets: names and levels of each feature set that they refer to.

    Returns:
        The columns of `PredictionRecord`: `event_time`, `due`, `answered_at`, `now` datetime64[ns, UTC]; `inputs` (dict, the
        request's row); `features` (dict, name to float, or to str or None for a category); `prediction` float64, or str
        for a classification; `probabilities` (dict, or None).
    """
    frame = pd.DataFrame({name: [getattr(answer, name) for answer in answers] for name in FRAME_COLUMNS})
    for name in ("event_time", "due", "answered_at", "now"):
        frame[name] = pd.to_datetime(frame[name], utc=True).astype("datetime64[ns, UTC]")
    frame["features"] = pd.Series([named(a.features, *sets[a.feature_set]) for a in answers], dtype=object)
    return frame


REQUEST_COLUMNS = ["at", "now", "status", "latency_ms", "role", "rows", "rss"]


def requests_frame(rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Lines of the request log as a frame, in their order.

    Returns:
        One row per request: `at` (the wall's), `now` (the project's), `status`, `latency_ms` (of the whole request),
        `role`, `rows` (that it asked for), `rss` (bytes the service held).
    """
    frame = pd.DataFrame(rows, columns=REQUEST_COLUMNS)
    for name in ("at", "now"):
        frame[name] = pd.to_datetime(frame[name], unit="us", utc=True).astype("datetime64[ns, UTC]")
    return frame


def health_of(log: pd.DataFrame) -> ServiceHealth:
    """How the service did, from a stretch of its request log."""
    latency = {q: float(np.percentile(log["latency_ms"], q)) if len(log) else None for q in (50, 95, 99)}
    memory = log["rss"].max() if log["rss"].notna().any() else None
    return ServiceHealth(
        requests=len(log),
        errors=int((log["status"] >= 500).sum()),
        client_errors=int(((log["status"] >= 400) & (log["status"] < 500)).sum()),
        p50_ms=latency[50],
        p95_ms=latency[95],
        p99_ms=latency[99],
        memory_mb=None if memory is None else float(memory) / 2**20,
    )
