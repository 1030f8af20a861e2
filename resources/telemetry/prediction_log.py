"""The prediction log: the requests and predictions of a project's service, in SQLite.

The service writes predictions to the log before it sends its response. It is the only writer. Reports, the evaluator
and the command `provenance` read the same file from other processes; with write-ahead logging neither side waits for
the other.

Predictions are stored with different durability. A prediction for an event (role `champion`) cannot be computed again
later, so its transaction is synced to the disk (`synchronous=FULL`) before the response is sent, and survives a power
failure. Predictions for other requests (`ad_hoc`), predictions of the shadow (which can be computed again) and the
request log are written to the operating system only (`synchronous=NORMAL`): they survive a killed service, but a power
failure may lose the newest of them. A sync takes milliseconds, and requests do not wait for it without need.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import orjson
import pandas as pd
from filelock import FileLock

from mlops_assets.errors import Refused
from mlops_assets.prediction.records import (
    COLUMNS,
    FEATURE_SET,
    FIELDS,
    REQUEST_COLUMNS,
    Pending,
    PredictionRecord,
    RequestLine,
    Role,
    ServiceHealth,
    frame_of,
    from_row,
    health_of,
    maybe_us,
    moment_of,
    requests_frame,
    to_row,
    us,
)

Log = Literal["answers", "requests"]
SCHEMA_VERSION = 1
ID_CHUNK = 500
"""Event ids per query: SQLite limits the number of parameters."""

SCHEMA = """
CREATE TABLE feature_sets (
    id INTEGER PRIMARY KEY,
    definition TEXT NOT NULL UNIQUE              -- JSON: names in order, and the categories' levels
);
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,                      -- in the order of writing
    event_id TEXT NOT NULL,
    role TEXT NOT NULL,
    version INTEGER NOT NULL,
    dataset TEXT NOT NULL,
    project TEXT NOT NULL,
    entity TEXT,
    event_time INTEGER NOT NULL,                 -- all times are microseconds since 1970, UTC
    due INTEGER,
    answered_at INTEGER NOT NULL,                -- system time
    now INTEGER,                                 -- project time
    late INTEGER NOT NULL,
    entity_known INTEGER NOT NULL,
    inputs BLOB NOT NULL,                        -- the request's row: JSON, compressed (deflate)
    feature_set INTEGER NOT NULL REFERENCES feature_sets (id),
    features BLOB NOT NULL,                      -- float64, little endian
    prediction NOT NULL,                         -- number or class label
    probabilities TEXT                           -- JSON
);
CREATE UNIQUE INDEX first_stands ON answers (event_id) WHERE role = 'champion';
CREATE UNIQUE INDEX one_shadow ON answers (event_id, version) WHERE role = 'shadow';
CREATE INDEX by_event ON answers (event_id);
CREATE INDEX by_time ON answers (project, event_time);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,                         -- system time
    now INTEGER,                                 -- project time; null where the request had none
    status INTEGER NOT NULL,
    latency_ms REAL NOT NULL,
    role TEXT NOT NULL,
    rows INTEGER NOT NULL,
    rss INTEGER                                  -- memory of the service in bytes, at the time of writing
);
CREATE INDEX by_now ON requests (now);
"""


def telemetry_path(state: Path, project: str) -> Path:
    """Return the path of a project's prediction log.

    Args:
        state: the folder that holds a folder per project.
        project: name of the project.
    """
    return state / project / "telemetry.sqlite"


# only the unique indices cause a conflict that is ignored; a violation of any other constraint raises an error
INSERT = f"INSERT INTO answers ({COLUMNS}) VALUES ({', '.join('?' * len(FIELDS))}) ON CONFLICT DO NOTHING"
UNSHADOWED = """FROM answers AS given WHERE project = :project AND role = 'champion' AND due >= :as_of AND id > :after
    AND NOT EXISTS (SELECT 1 FROM answers AS shadow
        WHERE shadow.event_id = given.event_id AND shadow.role = 'shadow' AND shadow.version = :version)"""


class PredictionLog:
    """A project's prediction log. It can be used from several threads; readers do not block the writer.

    Args:
        path: the SQLite file; it is created, with its folder, when it does not exist.

    Raises:
        Refused: a newer version of this platform wrote the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._prepare()
        self._synced, self._unsynced, self._reader = (self._connect(mode) for mode in ("FULL", "NORMAL", "NORMAL"))
        self._reading = threading.Lock()

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        # `checkpoint` does this instead, so that no request waits for it
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return connection

    def _prepare(self) -> None:
        # several processes may open a new file at once, and changing the journal mode does not wait for SQLite's lock
        with FileLock(f"{self.path}.lock"):
            connection = self._connect("FULL")
            try:
                found = connection.execute("PRAGMA user_version").fetchone()[0]
                if found > SCHEMA_VERSION:
                    raise Refused(
                        "-",
                        f"prediction log {self.path}",
                        f"it has schema {found}, this version of mlops-assets knows schemas up to {SCHEMA_VERSION}",
                        "use the newer mlops-assets that wrote it, or another state folder (MLOPS_ASSETS_HOME)",
                    )
                if found == 0:
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
            finally:
                connection.close()

    def close(self) -> None:
        """Carry out a checkpoint and close the file."""
        self.checkpoint()
        for connection in (self._synced, self._unsynced, self._reader):
            connection.close()

    def __enter__(self) -> PredictionLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        # SQLite allows one writer; waiting for this lock is fairer and faster than SQLite's polling
        with self._lock:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    # Writing

    def feature_set(self, names: Sequence[str], levels: Mapping[str, Sequence[str]]) -> int:
        """Return the number of a feature set; it is stored when it is new. Predictions refer to it by this number.

        Args:
            names: the features, in the order of the feature matrix's columns.
            levels: by name of a categorical feature, the values that its codes 0, 1, ... stand for.
        """
        definition = orjson.dumps({"names": list(names), "levels": {k: list(v) for k, v in levels.items()}}).decode()
        with self._transaction(self._synced) as connection:
            connection.execute("INSERT OR IGNORE INTO feature_sets (definition) VALUES (?)", (definition,))
            found = connection.execute("SELECT id FROM feature_sets WHERE definition = ?", (definition,)).fetchone()
        return int(found[0])

    def record(self, predictions: Sequence[PredictionRecord]) -> set[str]:
        """Write predictions, all or none, and return when they are durable (see the module's docstring).

        An event has one prediction by a champion, the first one, and one by each shadow version.

        Returns:
            The ids of events that already had a prediction; for these nothing was written.
        """
        durable = any(prediction.role == "champion" for prediction in predictions)
        rows = [to_row(prediction) for prediction in predictions]
        existing: set[str] = set()
        with self._transaction(self._synced if durable else self._unsynced) as connection:
            for row in rows:
                if connection.execute(INSERT, row).rowcount == 0:
                    existing.add(row[0])
        return existing

    def record_requests(self, lines: Sequence[RequestLine], rss: int | None) -> None:
        """Write lines of the request log.

        Args:
            lines: completed requests.
            rss: memory that the service uses now, in bytes.
        """
        rows = [
            (us(line.at), maybe_us(line.now), line.status, line.latency_ms, line.role, line.rows, rss) for line in lines
        ]
        with self._transaction(self._unsynced) as connection:
            connection.executemany(
                "INSERT INTO requests (at, now, status, latency_ms, role, rows, rss) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file, as far as no reader needs it. This waits for no reader."""
        with self._reading:
            self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    # Reading

    def _read(self, query: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self._reading:
            return self._reader.execute(query, parameters).fetchall()

    def predicted_ids(self, ids: Iterable[str]) -> set[str]:
        """Return the ids of those events that have a prediction by a champion."""
        return {row[0] for row in self._by_id("SELECT event_id FROM answers WHERE role = 'champion' AND event_id", ids)}

    def champion_predictions(self, ids: Iterable[str]) -> dict[str, PredictionRecord]:
        """Return the champion's prediction by event id. Events without one are left out."""
        rows = self._by_id(f"SELECT {COLUMNS} FROM answers WHERE role = 'champion' AND event_id", ids)
        return {row[0]: from_row(row) for row in rows}

    def _by_id(self, query: str, ids: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        wanted = list(ids)
        for start in range(0, len(wanted), ID_CHUNK):
            chunk = wanted[start : start + ID_CHUNK]
            yield from self._read(f"{query} IN ({','.join('?' * len(chunk))})", chunk)

    def predictions(
        self, project: str, start: datetime, end: datetime, roles: Sequence[Role] = ("champion",)
    ) -> pd.DataFrame:
        """Return the predictions for events with start <= event time < end.

        Returns:
            One row per prediction, ordered by event time, entity, role and version; the columns are those of
            `frame_of`.
        """
        marks = ",".join("?" * len(roles))
        query = f"""SELECT {COLUMNS} FROM answers WHERE project = ? AND event_time >= ? AND event_time < ?
            AND role IN ({marks}) ORDER BY event_time, entity, role, version, id"""
        return self._frame(self._read(query, [project, us(start), us(end), *roles]))

    def predictions_for_events(self, ids: Sequence[str]) -> pd.DataFrame:
        """Return all predictions for these events, by any version and role, in the form of `predictions`."""
        rows = self._by_id(f"SELECT {COLUMNS} FROM answers WHERE event_id", ids)
        return self._frame(sorted(rows, key=lambda row: (row[6], row[5] or "", row[1], row[2])))

    def _frame(self, rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
        sets = {key: self._definition(key) for key in {row[FEATURE_SET] for row in rows}}
        return frame_of([from_row(row) for row in rows], sets)

    def _definition(self, key: int) -> tuple[list[str], dict[str, list[str]]]:
        (text,) = self._read("SELECT definition FROM feature_sets WHERE id = ?", (key,))[0]
        definition = orjson.loads(text)
        return definition["names"], definition["levels"]

    def unshadowed(self, project: str, version: int, as_of: datetime, after: int, limit: int) -> list[Pending]:
        """Return predictions by champions for events that a shadow version has yet to predict, in the order of writing.

        Args:
            project: name of the project.
            version: version of the shadow.
            as_of: the shadow predicts only events that are due at this moment or later.
            after: rows up to this number (`Pending.row`) are skipped; 0 for none.
            limit: the largest number of predictions to return.
        """
        rows = self._read(
            f"SELECT id, {COLUMNS} {UNSHADOWED} ORDER BY id LIMIT :limit",
            {"project": project, "version": version, "as_of": us(as_of), "after": after, "limit": limit},
        )
        return [Pending(row[0], from_row(row[1:])) for row in rows]

    def backlog(self, project: str, version: int, as_of: datetime, after: int) -> int:
        """Return how many predictions `unshadowed` would return without a limit."""
        named = {"project": project, "version": version, "as_of": us(as_of), "after": after}
        return int(self._read(f"SELECT count(*) {UNSHADOWED}", named)[0][0])

    def counts(self, project: str) -> dict[str, int]:
        """Return how many events have a prediction by a champion, and how many of these were late."""
        query = "SELECT count(*), coalesce(sum(late), 0) FROM answers WHERE project = ? AND role = 'champion'"
        answered, late = self._read(query, [project])[0]
        return {"answered": int(answered), "late": int(late)}

    def predicted_events(self, project: str) -> set[str]:
        """Return the ids of all events of a project that have a prediction by a champion."""
        return {
            row[0]
            for row in self._read("SELECT event_id FROM answers WHERE project = ? AND role = 'champion'", [project])
        }

    def latest_project_time(self) -> datetime | None:
        """Return the latest project time of any prediction or request; None when there is none."""
        (found,) = self._read(
            "SELECT max(now) FROM (SELECT max(now) AS now FROM answers UNION SELECT max(now) FROM requests)", ()
        )[0]
        return None if found is None else moment_of(found)

    def requests(self, start: datetime, end: datetime) -> pd.DataFrame:
        """Return the request log of start <= project time < end in the order of writing, see `requests_frame`."""
        query = f"SELECT {', '.join(REQUEST_COLUMNS)} FROM requests WHERE now >= ? AND now < ? ORDER BY id"
        return requests_frame(self._read(query, (us(start), us(end))))

    def health(self, start: datetime, end: datetime) -> ServiceHealth:
        """Return the service's health in start <= project time < end."""
        return health_of(self.requests(start, end))

    # Forwarding

    def rows_after(self, table: Log, row: int, limit: int) -> list[tuple[int, tuple[Any, ...]]]:
        """Return the rows of a log that follow a row, in the order of writing.

        Args:
            table: the log.
            row: number of the last row that was read; 0 for none.
            limit: the largest number of rows to return.

        Returns:
            The number of each row and its values, in the order of `FIELDS` or `REQUEST_COLUMNS`.
        """
        columns = COLUMNS if table == "answers" else ", ".join(REQUEST_COLUMNS)
        rows = self._read(f"SELECT id, {columns} FROM {table} WHERE id > ? ORDER BY id LIMIT ?", (row, limit))
        return [(found[0], found[1:]) for found in rows]

    def newest(self, table: Log) -> int:
        """Return the number of a log's newest row; 0 when it is empty."""
        (found,) = self._read(f"SELECT max(id) FROM {table}", ())[0]
        return int(found or 0)

    def feature_sets(self) -> dict[int, str]:
        """Return the definition of each feature set, as JSON, by its number."""
        return dict(self._read("SELECT id, definition FROM feature_sets", ()))
