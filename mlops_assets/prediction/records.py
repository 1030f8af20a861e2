"""The rows of the prediction log and of the request log, and how they are stored: exactly, to the last bit."""

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
    """One prediction, with its inputs and features."""

    event_id: str
    role: Role
    version: int
    dataset: str
    project: str
    entity: str | None
    event_time: datetime
    due: datetime | None
    """When the prediction was due; None for `ad_hoc`, since only the scorer sends due times."""
    answered_at: datetime
    """Time of the prediction, by the system's clock."""
    now: datetime | None
    """The project's time of the request, as far as the service knows it."""
    late: bool
    entity_known: bool
    inputs: Mapping[str, Any]
    """The request's row; `from_records` returns exactly the model's inputs."""
    feature_set: int | str
    """Number of the feature set (`PredictionLog.feature_set`); in records from InfluxDB `FeatureSet.id`."""
    features: npt.NDArray[np.float64]
    """(k,) in the order of the feature set."""
    prediction: float | str
    probabilities: dict[str, float] | None


@dataclass(frozen=True)
class RequestLine:
    """One request to `/invocations`, successful or not."""

    at: datetime
    now: datetime | None
    status: int
    latency_ms: float
    role: str
    rows: int


@dataclass(frozen=True)
class ServiceHealth:
    """Requests, errors, latency and memory of the service in a period of project time."""

    requests: int
    errors: int
    """Number of responses with a status of 500 or more; an error of a client (4xx) is not counted."""
    client_errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    memory_mb: float | None
    """Largest resident memory of the process, in MiB."""


@dataclass(frozen=True)
class Pending:
    """A champion's prediction for an event that the shadow has not predicted yet.

    Attributes:
        row: number of its row in the prediction log.
        champion: the champion's prediction.
    """

    row: int
    champion: PredictionRecord = field(repr=False)


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
    """Return an aware time as microseconds since 1970 in UTC."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def maybe_us(moment: datetime | None) -> int | None:
    """Return an aware time as microseconds since 1970 in UTC; None for None."""
    return None if moment is None else us(moment)


def moment_of(value: int) -> datetime:
    """Return the aware time of microseconds since 1970 in UTC."""
    return EPOCH + timedelta(microseconds=value)


def times_of(values: Times) -> list[datetime]:
    """Return datetime64[ns] values in UTC as aware times."""
    return [
        EPOCH + timedelta(microseconds=value) for value in values.astype("datetime64[us]").astype(np.int64).tolist()
    ]


def to_row(record: PredictionRecord) -> tuple[Any, ...]:
    """Return a prediction as a row of the table, in the order of `FIELDS`."""
    return (
        record.event_id,
        record.role,
        record.version,
        record.dataset,
        record.project,
        record.entity,
        us(record.event_time),
        maybe_us(record.due),
        us(record.answered_at),
        maybe_us(record.now),
        record.late,
        record.entity_known,
        # JSON keeps every float64 exactly: orjson writes the shortest text that is read back as the same number
        zlib.compress(orjson.dumps(dict(record.inputs)), 1),
        record.feature_set,
        record.features.astype("<f8").tobytes(),
        record.prediction,
        None if record.probabilities is None else orjson.dumps(record.probabilities).decode(),
    )


def from_row(row: tuple[Any, ...]) -> PredictionRecord:
    """Return the prediction of a row of the table."""
    values = dict(zip(FIELDS, row, strict=True))
    for name in ("event_time", "due", "answered_at", "now"):
        values[name] = None if values[name] is None else moment_of(values[name])
    values["late"], values["entity_known"] = bool(values["late"]), bool(values["entity_known"])
    values["inputs"] = orjson.loads(zlib.decompress(values["inputs"]))
    values["features"] = np.frombuffer(values["features"], dtype="<f8")
    values["probabilities"] = None if values["probabilities"] is None else orjson.loads(values["probabilities"])
    return PredictionRecord(**values)


def named(features: npt.NDArray[np.float64], names: list[str], levels: dict[str, list[str]]) -> dict[str, Any]:
    """Return features by name, and categories by the names of their levels; None for a missing category."""
    named: dict[str, Any] = dict(zip(names, features.tolist(), strict=True))
    for name, known in levels.items():
        code = named[name]
        named[name] = None if code != code else known[int(code)]
    return named


def frame_of(
    records: Sequence[PredictionRecord], sets: Mapping[Any, tuple[list[str], dict[str, list[str]]]]
) -> pd.DataFrame:
    """Return predictions as a frame, one row each, in their order.

    Args:
        records: the predictions.
        sets: names and levels of each feature set that occurs in them.

    Returns:
        The columns of `PredictionRecord`: `event_time`, `due`, `answered_at`, `now` datetime64[ns, UTC]; `inputs`
        (dict, the request's row); `features` (dict, name to float, or to str or None for a category); `prediction`
        float64, or str for a classification; `probabilities` (dict, or None).
    """
    frame = pd.DataFrame({name: [getattr(record, name) for record in records] for name in FRAME_COLUMNS})
    for name in ("event_time", "due", "answered_at", "now"):
        frame[name] = pd.to_datetime(frame[name], utc=True).astype("datetime64[ns, UTC]")
    frame["features"] = pd.Series(
        [named(record.features, *sets[record.feature_set]) for record in records], dtype=object
    )
    return frame


REQUEST_COLUMNS = ["at", "now", "status", "latency_ms", "role", "rows", "rss"]


def requests_frame(rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Return lines of the request log as a frame, in their order.

    Returns:
        One row per request: `at` (the system's time), `now` (the project's time), `status`, `latency_ms` (of the whole
        request), `role`, `rows` (number of rows), `rss` (resident memory of the service, in bytes).
    """
    frame = pd.DataFrame(rows, columns=REQUEST_COLUMNS)
    for name in ("at", "now"):
        frame[name] = pd.to_datetime(frame[name], unit="us", utc=True).astype("datetime64[ns, UTC]")
    return frame


def health_of(log: pd.DataFrame) -> ServiceHealth:
    """Return requests, errors, latency and memory of the service in a part of its request log."""
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
