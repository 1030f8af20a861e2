"""InfluxDB 2: where a forwarder brings telemetry to, and where reports and predictions read it from."""

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
SLICE = timedelta(days=7)
"""Project time that one query reads: neither side ever holds a whole history."""
SETTLE_WITHIN = 120.0
"""Seconds that a reader waits for the forwarder to have brought what the service had logged before."""
SETTLE_EVERY = 0.05
TRIES = 6
PAUSE = tenacity.wait_exponential(multiplier=0.2, max=10)


@dataclass(frozen=True)
class Server:
    """An InfluxDB, its bucket, and how to get at it.

    Args:
        url: of the server.
        org: the organisation.
        bucket: the bucket.
        token: gives the token; asked anew at each connection, so that it can be replaced.
    """

    url: str
    org: str
    bucket: str
    token: Callable[[], str]

    @contextmanager
    def client(self) -> Iterator[InfluxDBClient]:
        """A connection.

        Raises:
            TelemetryError: what goes wrong with it in the block, in words.
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
        """How errors name it."""
        return f"InfluxDB at {self.url}, bucket {self.bucket}"

    def error(self, status: int, message: str) -> TelemetryError:
        """What a refusal means."""
        if status in (401, 403):
            return WrongToken("-", self.place, f"it refuses the token ({status}: {message})", REMEDIES["token"])
        if status == 404:
            return WrongToken("-", self.place, f"it is not there ({message})", REMEDIES["bucket"])
        if "field type conflict" in message:
            return Conflict("-", self.place, message, REMEDIES["conflict"])
        if "retention" in message:
            return Expired("-", self.place, message, REMEDIES["retention"])
        if status in (429, 500, 502, 503, 504):
            return InfluxUnreachable(
                "-", self.place, f"it is not able now ({status}: {message})", "this is tried again"
            )
        return TelemetryError("-", self.place, f"it refuses ({status}: {message})", REMEDIES["other"])

    def write(self, client: InfluxDBClient, lines: Sequence[str]) -> None:
        """Write points, at once and once; writing them again changes nothing.

        Raises:
            TelemetryError: when they are not, or not all, written.
        """
        from influxdb_client.client.write_api import SYNCHRONOUS

        with self.translate_errors(), client.write_api(write_options=SYNCHRONOUS) as api:
            api.write(self.bucket, self.org, "\n".join(lines).encode())

    def query(self, flux: str, **parameters: str) -> Iterator[dict[str, Any]]:
        """The rows of a query, as they come.

        Args:
            flux: after `from(bucket)`; `{name}` stands for a parameter, quoted as a string of Flux.
            parameters: by name.
        """
        text = f"from(bucket: {quoted(self.bucket)}) " + flux.format(**{k: quoted(v) for k, v in parameters.items()})
        with self.client() as client:
            for record in client.query_api().query_stream(text):
                yield record.values

    def check(self, retention: timedelta | None) -> None:
        """Look once whether bucket and token are as they should be, and set the retention.

        Raises:
            TelemetryError: naming what is not.
        """
        from influxdb_client.domain.bucket_retention_rules import BucketRetentionRules

        with self.client() as client:
            api = client.buckets_api()
            found: Any = api.find_bucket_by_name(self.bucket)  # type: ignore[no-untyped-call]
            if found is None:
                raise self.error(404, "no such bucket, or the token may not see it")
            kept = found.retention_rules[0].every_seconds if found.retention_rules else 0
            if retention is not None and kept != int(retention.total_seconds()):
                seconds = int(retention.total_seconds())
                found.retention_rules = [BucketRetentionRules(every_seconds=seconds)]  # type: ignore[no-untyped-call]
                api.update_bucket(found)


class WrongToken(TelemetryError):  # noqa: N818 - what happened says more than `Error` would
    """It knows no such token or bucket; asking again does not help."""


class Conflict(TelemetryError):  # noqa: N818 - as WrongToken
    """A field has another type there."""


class Expired(TelemetryError):  # noqa: N818 - as WrongToken
    """Points are older than what the bucket keeps; the others were written."""


REMEDIES = {
    "token": "give a token that may read and write this bucket (MLOPS_ASSETS_INFLUX_TOKEN, or ..._TOKEN_FILE)",
    "bucket": "make the bucket, or look at MLOPS_ASSETS_INFLUX_BUCKET and MLOPS_ASSETS_INFLUX_ORG",
    "conflict": "somebody else wrote this field as another type: delete those points, or use a bucket of one's own",
    "retention": "make the bucket keep points longer (MLOPS_ASSETS_INFLUX_RETENTION), or take this as it is",
    "other": "see its log",
}


def quoted(text: str) -> str:
    """A string of Flux."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${") + '"'


def _message(error: Any) -> str:
    try:
        return str(orjson.loads(error.body)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return str(error.reason)


EVER = "|> range(start: 0, stop: 2200-01-01T00:00:00Z)"
POINTS = """|> range(start: time(v: {start}), stop: time(v: {stop}))
    |> filter(fn: (r) => r._measurement == {measurement} and r.project == {project} and r._field =~ /^record/)"""
RECORDS = f"""{POINTS}
    |> map(fn: (r) => ({{{{r with ns: int(v: r._time)}}}}))
    |> keep(columns: ["ns", "role", "model_version", "entity", "status", "_field", "_value"])"""
SERIES = ("ns", "role", "model_version", "entity", "status")


class InfluxPredictions:
    """A project's telemetry as InfluxDB has it; the counterpart of reading the service's own log.

    What a service logged before a question is in the answer: readers wait until the forwarder has brought it.

    Args:
        server: the InfluxDB.
        project: whose.
        behind: how many records of the service's log are not there yet.
        settle_within: seconds that a reader waits for them.
    """

    def __init__(
        self, server: Server, project: str, behind: Callable[[], int], settle_within: float = SETTLE_WITHIN
    ) -> None:
        self.server, self.project, self.behind, self.settle_within = server, project, behind, settle_within

    def _settle(self) -> None:
        deadline = time.monotonic() + self.settle_within
        while left := self.behind():
            if time.monotonic() > deadline:
                raise TelemetryError(
                    self.project,
                    "forwarder",
                    f"{left} records of the service's log are not in {self.server.place} in {self.settle_within:.0f} s",
                    "start it (mlops-assets serve forwarder), or look at its log",
                )
            time.sleep(SETTLE_EVERY)

    def _rows(self, flux: str, **parameters: str) -> list[dict[str, Any]]:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(InfluxUnreachable),
            stop=tenacity.stop_after_attempt(TRIES),
            wait=PAUSE,
            reraise=True,
        )
        return retrying(lambda: list(self.server.query(flux, project=self.project, **parameters)))

    def _records(self, measurement: str, start: datetime, end: datetime, roles: Sequence[str] = ()) -> Iterator[str]:
        """The whole records of points with start <= time < end, slice by slice in the order of time."""
        chosen = " or ".join(f"r.role == {quoted(role)}" for role in roles)
        flux = f"{RECORDS} |> filter(fn: (r) => {chosen})" if roles else RECORDS
        start, end = self._filled(measurement, start, end)
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

    def _filled(self, measurement: str, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        """The part of a long time that has points at all, so that nobody walks through empty centuries."""
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
        """Answers to events with start <= event time < end, as `PredictionLog.answers` gives them."""
        self._settle()
        return self._frame(self._records("answer", start, end, roles))

    def prediction_records_of(self, ids: Sequence[str]) -> pd.DataFrame:
        """All answers to a few events, whoever gave them and whenever: looks through the whole bucket."""
        self._settle()
        names = {f"id{number}": event for number, event in enumerate(ids)}
        chosen = " or ".join(f"r._value == {{{name}}}" for name in names)
        flux = f"""{EVER}
            |> filter(fn: (r) => r._measurement == "answer" and r.project == {{project}} and r._field == "event_id")
            |> filter(fn: (r) => {chosen}) |> keep(columns: ["_time"]) |> group()"""
        moments = sorted({row["_time"] for row in self._rows(flux, **names)}) if names else []
        records = [text for at in moments for text in self._records("answer", at, at + timedelta(microseconds=1))]
        wanted = set(ids)
        return self._frame(text for text in records if orjson.loads(text)[1] in wanted)

    def _frame(self, records: Iterable[str]) -> pd.DataFrame:
        rows = sorted(map(from_record, records), key=lambda row: (row[1][6], row[1][5] or "", *row[1][1:3], row[0]))
        sets = {name: self._set(name) for name in {values[FEATURE_SET] for _, values in rows}}
        answers = [from_row(values) for _, values in rows]
        return frame_of(answers, {name: (found.names, found.levels) for name, found in sets.items()})

    def _set(self, name: str) -> FeatureSet:
        flux = f"""{EVER}
            |> filter(fn: (r) => r._measurement == "feature_set" and r.project == {{project}} and r.set == {{name}})
            |> last()"""
        found = self._rows(flux, name=name)
        if not found:
            raise TelemetryError(
                self.project, self.server.place, f"it has no feature set {name}", "let the forwarder bring the log anew"
            )
        return FeatureSet(str(found[0]["_value"]))

    def counts(self, project: str) -> dict[str, int]:
        """How many events have an answer that stands, and how many of these were late."""
        self._settle()
        flux = f"""{EVER}
            |> filter(fn: (r) => r._measurement == "answer" and r.project == {{project}} and r.role == "champion")
            |> filter(fn: (r) => r._field == "late" and {{condition}}) |> group() |> count()"""
        found = {
            "answered": self._rows(flux.replace("{condition}", "true")),
            "late": self._rows(flux.replace("{condition}", "r._value")),
        }
        return {name: int(rows[0]["_value"]) if rows else 0 for name, rows in found.items()}

    def requests(self, start: datetime, end: datetime) -> pd.DataFrame:
        """The request log of start <= project time < end, as `PredictionLog.requests` gives it."""
        self._settle()
        spread = timedelta(microseconds=PER_MOMENT // 1000)
        rows = sorted(orjson.loads(text) for text in self._records("request", start, end + spread))
        frame = requests_frame([row[1:] for row in rows if row[2] is not None])
        return frame[(frame["now"] >= start) & (frame["now"] < end)].reset_index(drop=True)

    def health(self, start: datetime, end: datetime) -> ServiceHealth:
        """How the service did in start <= project time < end."""
        return health_of(self.requests(start, end))


def token_from(token: str | None, file: Path | None) -> Callable[[], str]:
    """How a token is had: from a file, read anew each time, or as it was given.

    Raises:
        TelemetryError: when asked, if the file is absent or empty.
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
    """The InfluxDB that the settings name; None where there is none."""
    if settings.influx_url is None:
        return None
    given = None if settings.influx_token is None else settings.influx_token.get_secret_value()
    token = token_from(given, settings.influx_token_file)
    return Server(settings.influx_url, settings.influx_org, settings.influx_bucket, token)
