"""InfluxDB 2: a forwarder writes telemetry there, and reports and the asset `predictions` read it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd
import tenacity

from mlops_assets.errors import InfluxUnreachable, TelemetryError, translate_errors
from mlops_assets.prediction.records import (
    FEATURE_SET,
    Role,
    ServiceHealth,
    frame_of,
    from_row,
    health_of,
    requests_frame,
)
from mlops_assets.resources.settings import Settings
from mlops_assets.resources.telemetry.points import PER_MOMENT, FeatureSet, from_record
from mlops_assets.timeline import iso

if TYPE_CHECKING:
    from influxdb_client.client.influxdb_client import InfluxDBClient

TIMEOUT_MS = 20_000
"""Timeout of a request, in milliseconds."""
SLICE = timedelta(days=7)
"""Project time that one query reads; it bounds the memory that server and reader need."""
WAIT_WITHIN = 120.0
"""Seconds that a reader waits for the forwarder to write what the service had logged before."""
WAIT_INTERVAL = 0.05
"""Seconds between two checks of the forwarder's backlog."""
TRIES = 6
PAUSE = tenacity.wait_exponential(multiplier=0.2, max=10)


@dataclass(frozen=True)
class Server:
    """An InfluxDB server and one of its buckets.

    Args:
        url: address of the server.
        org: the organisation.
        bucket: the bucket.
        token: returns the token; called for each connection, so that the token can be replaced.
    """

    url: str
    org: str
    bucket: str
    token: Callable[[], str]

    @contextmanager
    def client(self) -> Iterator[InfluxDBClient]:
        """Yield a client.

        Raises:
            TelemetryError: a request of the block fails.
        """
        from influxdb_client.client.influxdb_client import InfluxDBClient

        with (
            self.translate_errors(),
            InfluxDBClient(self.url, self.token(), org=self.org, timeout=TIMEOUT_MS, enable_gzip=True) as client,
        ):
            yield client

    def translate_errors(self) -> AbstractContextManager[None]:
        """Return a context that raises a `TelemetryError` that says what to do in place of the client's errors."""
        from influxdb_client.rest import ApiException
        from urllib3.exceptions import HTTPError

        def unreachable(error: HTTPError) -> InfluxUnreachable:
            found = f"it does not answer: {type(error).__name__}"
            remedy = "start it, or check MLOPS_ASSETS_INFLUX_URL; the request is retried"
            return InfluxUnreachable("-", self.place, found, remedy)

        return translate_errors(
            {ApiException: lambda error: self.error(error.status or 0, _message(error)), HTTPError: unreachable}
        )

    @property
    def place(self) -> str:
        """The server and bucket, as errors name them."""
        return f"InfluxDB at {self.url}, bucket {self.bucket}"

    def error(self, status: int, message: str) -> TelemetryError:
        """Return the error for a response's status and message."""
        if status in (401, 403):
            return WrongToken("-", self.place, f"it refuses the token ({status}: {message})", REMEDIES["token"])
        if status == 404:
            return WrongToken("-", self.place, f"it does not exist ({message})", REMEDIES["bucket"])
        if "field type conflict" in message:
            return Conflict("-", self.place, message, REMEDIES["conflict"])
        if "retention" in message:
            return Expired("-", self.place, message, REMEDIES["retention"])
        if status in (429, 500, 502, 503, 504):
            return InfluxUnreachable(
                "-", self.place, f"it cannot answer now ({status}: {message})", "the request is retried"
            )
        return TelemetryError("-", self.place, f"it refuses the request ({status}: {message})", REMEDIES["other"])

    def write(self, client: InfluxDBClient, lines: Sequence[str]) -> None:
        """Write points in one request. Writing the same points again changes nothing.

        Raises:
            TelemetryError: not all of them are written.
        """
        from influxdb_client.client.write_api import SYNCHRONOUS

        with self.translate_errors(), client.write_api(write_options=SYNCHRONOUS) as api:
            api.write(self.bucket, self.org, "\n".join(lines).encode())

    def query(self, flux: str, **parameters: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a query as they arrive.

        Args:
            flux: the query after `from(bucket)`; `{name}` stands for a parameter, quoted as a Flux string.
            parameters: values by name.
        """
        text = f"from(bucket: {quoted(self.bucket)}) " + flux.format(**{k: quoted(v) for k, v in parameters.items()})
        with self.client() as client:
            for record in client.query_api().query_stream(text):
                yield record.values

    def check(self, retention: timedelta | None) -> None:
        """Check that the bucket exists and the token may read it, and set the bucket's retention.

        Args:
            retention: how long the bucket keeps points; None leaves it unchanged.

        Raises:
            TelemetryError: the check fails; the error says why.
        """
        from influxdb_client.domain.bucket_retention_rules import BucketRetentionRules

        with self.client() as client:
            api = client.buckets_api()
            found: Any = api.find_bucket_by_name(self.bucket)  # type: ignore[no-untyped-call]
            if found is None:
                raise self.error(404, "no such bucket, or the token may not read it")
            kept = found.retention_rules[0].every_seconds if found.retention_rules else 0
            if retention is not None and kept != int(retention.total_seconds()):
                seconds = int(retention.total_seconds())
                found.retention_rules = [BucketRetentionRules(every_seconds=seconds)]  # type: ignore[no-untyped-call]
                api.update_bucket(found)


class WrongToken(TelemetryError):  # noqa: N818 - what happened says more than `Error` would
    """InfluxDB refuses the token or has no such bucket; a retry does not help."""


class Conflict(TelemetryError):  # noqa: N818 - same reason as for WrongToken
    """InfluxDB has points in which a field has another type."""


class Expired(TelemetryError):  # noqa: N818 - same reason as for WrongToken
    """Some points are older than the bucket's retention; the others were written."""


REMEDIES = {
    "token": "give a token that may read and write this bucket (MLOPS_ASSETS_INFLUX_TOKEN, or ..._TOKEN_FILE)",
    "bucket": "create the bucket, or check MLOPS_ASSETS_INFLUX_BUCKET and MLOPS_ASSETS_INFLUX_ORG",
    "conflict": "another program wrote this field with another type: delete those points, or use another bucket",
    "retention": "set a longer retention (MLOPS_ASSETS_INFLUX_RETENTION) if these points are needed",
    "other": "see InfluxDB's log",
}


def quoted(text: str) -> str:
    """Return a text as a Flux string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${") + '"'


def _message(error: Any) -> str:
    try:
        return str(orjson.loads(error.body)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return str(error.reason)


ALL_TIME = "|> range(start: 0, stop: 2200-01-01T00:00:00Z)"
POINTS = """|> range(start: time(v: {start}), stop: time(v: {stop}))
    |> filter(fn: (r) => r._measurement == {measurement} and r.project == {project} and r._field =~ /^record/)"""
RECORDS = f"""{POINTS}
    |> map(fn: (r) => ({{{{r with ns: int(v: r._time)}}}}))
    |> keep(columns: ["ns", "role", "model_version", "entity", "status", "_field", "_value"])"""
SERIES = ("ns", "role", "model_version", "entity", "status")


class InfluxPredictions:
    """A project's telemetry in InfluxDB, with the same methods as `PredictionLog` for reading.

    A reader sees everything that the service logged before the call: it waits until the forwarder has written it.

    Args:
        server: the InfluxDB server and bucket.
        project: name of the project.
        backlog: returns how many records of the prediction log have not been forwarded yet.
        wait_within: seconds that a reader waits for them.
    """

    def __init__(
        self, server: Server, project: str, backlog: Callable[[], int], wait_within: float = WAIT_WITHIN
    ) -> None:
        self.server, self.project, self.backlog, self.wait_within = server, project, backlog, wait_within

    def _wait_for_forwarder(self) -> None:
        deadline = time.monotonic() + self.wait_within
        while left := self.backlog():
            if time.monotonic() > deadline:
                raise TelemetryError(
                    self.project,
                    "forwarder",
                    f"{left} records of the log are not in {self.server.place} after {self.wait_within:.0f} s",
                    "start it (mlops-assets serve forwarder), or see its log",
                )
            time.sleep(WAIT_INTERVAL)

    def _rows(self, flux: str, **parameters: str) -> list[dict[str, Any]]:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(InfluxUnreachable),
            stop=tenacity.stop_after_attempt(TRIES),
            wait=PAUSE,
            reraise=True,
        )
        return retrying(lambda: list(self.server.query(flux, project=self.project, **parameters)))

    def _records(self, measurement: str, start: datetime, end: datetime, roles: Sequence[str] = ()) -> Iterator[str]:
        """Yield the records of points with start <= time < end by time; each slice is read in one query."""
        chosen = " or ".join(f"r.role == {quoted(role)}" for role in roles)
        flux = f"{RECORDS} |> filter(fn: (r) => {chosen})" if roles else RECORDS
        start, end = self._bounds_of_points(measurement, start, end)
        while start < end:
            stop = min(start + SLICE, end)
            whole: dict[tuple[Any, ...], dict[str, str]] = {}
            for found in self._rows(flux, measurement=measurement, start=iso(start), stop=iso(stop)):
                key = tuple(found.get(name) for name in SERIES)
                whole.setdefault(key, {})[found["_field"]] = found["_value"]
            for key in sorted(whole, key=lambda key: int(key[0])):
                parts = whole[key]
                names = sorted(parts, key=lambda name: int(name.partition("_")[2] or 0))
                yield "".join(parts[name] for name in names)
            start = stop

    def _bounds_of_points(self, measurement: str, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        """Return the part of a long interval that has points, so that empty slices are not queried."""
        if end - start <= SLICE:
            return start, end
        where = {"measurement": measurement, "start": iso(start), "stop": iso(end)}
        oldest, newest = (
            [row["_time"] for row in self._rows(f"{POINTS} |> {side}()", **where)] for side in ("first", "last")
        )
        return (min(oldest), max(newest) + timedelta(microseconds=1)) if oldest else (start, start)

    def predictions(
        self, project: str, start: datetime, end: datetime, roles: Sequence[Role] = ("champion",)
    ) -> pd.DataFrame:
        """Return the predictions for events with start <= event time < end, as `PredictionLog.predictions` does."""
        self._wait_for_forwarder()
        return self._frame(self._records("answer", start, end, roles))

    def predictions_for_events(self, ids: Sequence[str]) -> pd.DataFrame:
        """Return all predictions for these events, by any version and role. The query searches the whole bucket."""
        self._wait_for_forwarder()
        names = {f"id{number}": event for number, event in enumerate(ids)}
        chosen = " or ".join(f"r._value == {{{name}}}" for name in names)
        flux = f"""{ALL_TIME}
            |> filter(fn: (r) => r._measurement == "answer" and r.project == {{project}} and r._field == "event_id")
            |> filter(fn: (r) => {chosen}) |> keep(columns: ["_time"]) |> group()"""
        moments = sorted({row["_time"] for row in self._rows(flux, **names)}) if names else []
        records = [text for at in moments for text in self._records("answer", at, at + timedelta(microseconds=1))]
        wanted = set(ids)
        return self._frame(text for text in records if orjson.loads(text)[1] in wanted)

    def _frame(self, records: Iterable[str]) -> pd.DataFrame:
        rows = sorted(map(from_record, records), key=lambda row: (row[1][6], row[1][5] or "", *row[1][1:3], row[0]))
        sets = {name: self._set(name) for name in {values[FEATURE_SET] for _, values in rows}}
        predictions = [from_row(values) for _, values in rows]
        return frame_of(predictions, {name: (found.names, found.levels) for name, found in sets.items()})

    def _set(self, name: str) -> FeatureSet:
        flux = f"""{ALL_TIME}
            |> filter(fn: (r) => r._measurement == "feature_set" and r.project == {{project}} and r.set == {{name}})
            |> last()"""
        found = self._rows(flux, name=name)
        if not found:
            raise TelemetryError(
                self.project,
                self.server.place,
                f"it has no feature set {name}",
                "delete forwarded.sqlite next to the prediction log, so that the forwarder writes it again",
            )
        return FeatureSet(str(found[0]["_value"]))

    def counts(self, project: str) -> dict[str, int]:
        """Return how many events have a prediction by a champion, and how many of these were late."""
        self._wait_for_forwarder()
        flux = f"""{ALL_TIME}
            |> filter(fn: (r) => r._measurement == "answer" and r.project == {{project}} and r.role == "champion")
            |> filter(fn: (r) => r._field == "late" and {{condition}}) |> group() |> count()"""
        found = {
            "answered": self._rows(flux.replace("{condition}", "true")),
            "late": self._rows(flux.replace("{condition}", "r._value")),
        }
        return {name: int(rows[0]["_value"]) if rows else 0 for name, rows in found.items()}

    def predicted_events(self, project: str) -> set[str]:
        """Return the ids of all events of a project that have a prediction by a champion."""
        self._wait_for_forwarder()
        flux = f"""{ALL_TIME}
            |> filter(fn: (r) => r._measurement == "answer" and r.project == {{project}} and r.role == "champion")
            |> filter(fn: (r) => r._field == "event_id") |> keep(columns: ["_value"]) |> group()"""
        return {str(row["_value"]) for row in self._rows(flux)}

    def requests(self, start: datetime, end: datetime) -> pd.DataFrame:
        """Return the request log of start <= project time < end, in the form of `PredictionLog.requests`."""
        self._wait_for_forwarder()
        spread = timedelta(microseconds=PER_MOMENT // 1000)
        rows = sorted(orjson.loads(text) for text in self._records("request", start, end + spread))
        frame = requests_frame([row[1:] for row in rows if row[2] is not None])
        return frame[(frame["now"] >= start) & (frame["now"] < end)].reset_index(drop=True)

    def health(self, start: datetime, end: datetime) -> ServiceHealth:
        """Return the service's health in start <= project time < end."""
        return health_of(self.requests(start, end))


def token_from(token: str | None, file: Path | None) -> Callable[[], str]:
    """Return a function that returns the token: the content of a file, read at each call, or a fixed token.

    The function raises `TelemetryError` when the file is absent or empty.
    """

    def read() -> str:
        if file is None:
            return token or ""
        found = file.read_text().strip() if file.is_file() else ""
        if not found:
            raise TelemetryError(
                "-", f"InfluxDB's token file {file}", "it is absent or empty", "write the token into it"
            )
        return found

    return read


def server_of(settings: Settings) -> Server | None:
    """Return the InfluxDB server and bucket that the settings name; None when they name none."""
    if settings.influx_url is None:
        return None
    given = None if settings.influx_token is None else settings.influx_token.get_secret_value()
    token = token_from(given, settings.influx_token_file)
    return Server(settings.influx_url, settings.influx_org, settings.influx_bucket, token)
