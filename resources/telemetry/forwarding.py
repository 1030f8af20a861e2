"""The logs of a state folder as points of InfluxDB, and the position up to which each log has been forwarded."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from mlops_assets.ledger.facts import WindowLabelled
from mlops_assets.ledger.store import Ledger
from mlops_assets.prediction.records import FIELDS
from mlops_assets.resources.settings import Settings
from mlops_assets.resources.storage.lake import Lake
from mlops_assets.resources.telemetry.points import (
    FeatureSet,
    PredictionLines,
    fact_lines,
    feature_set_line,
    label_lines,
    request_line,
)
from mlops_assets.resources.telemetry.prediction_log import Log, PredictionLog, telemetry_path

CURSORS = "forwarded.sqlite"
TABLES: tuple[Log, ...] = ("answers", "requests")
CONSUMER = "influxdb"
Key = tuple[str, str]
"""Project, and name of one of its logs."""


@dataclass(frozen=True)
class Batch:
    """Some records of one log as points.

    Attributes:
        lines: the points in InfluxDB's line protocol.
        records: the number of records.
        position: number of the last record.
    """

    lines: list[str]
    records: int
    position: int


class ForwardingSource(Protocol):
    """A log that is forwarded."""

    @property
    def project(self) -> str:
        """Name of the project."""

    @property
    def name(self) -> str:
        """Name of the log."""

    def batch(self, limit: int) -> Batch:
        """Return the next records as points; a batch without records when there are none."""

    def commit(self, position: int) -> None:
        """Store the position up to which the log has been forwarded."""

    def backlog(self) -> int:
        """Return how many records have not been forwarded yet."""


class Cursors:
    """The position up to which each table of a project's prediction log has been forwarded.

    Positions are in a file of their own, so that the service's writes do not wait for the forwarder's.

    Args:
        log: path of the prediction log.
    """

    def __init__(self, log: Path) -> None:
        self.path = log.with_name(CURSORS)

    def position(self, table: Log) -> int:
        """Return the number of the last forwarded row; 0 when there is none."""
        if not self.path.exists():
            return 0
        with self._open() as connection:
            row = connection.execute("SELECT row FROM forwarded WHERE log = ?", (table,)).fetchone()
        return int(row[0]) if row else 0

    def commit(self, table: Log, row: int) -> None:
        """Store the number of the last forwarded row."""
        with self._open() as connection:
            connection.execute(
                "INSERT INTO forwarded VALUES (?, ?) ON CONFLICT (log) DO UPDATE SET row = excluded.row", (table, row)
            )

    def _open(self) -> _Connection:
        return _Connection(self.path)


class _Connection:
    """An SQLite connection that commits and closes at the end of a `with` block."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, timeout=30)
        self.connection.execute("CREATE TABLE IF NOT EXISTS forwarded (log TEXT PRIMARY KEY, row INTEGER NOT NULL)")

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.connection.commit()
        self.connection.close()


def forwarding_backlog(log: PredictionLog) -> int:
    """Return how many records of a prediction log have not been forwarded to InfluxDB yet."""
    cursors = Cursors(log.path)
    return sum(log.newest(table) - cursors.position(table) for table in TABLES)


class LogSource:
    """One table of a project's prediction log.

    Args:
        project: name of the project.
        telemetry: the prediction log.
        table: the table.
    """

    def __init__(self, project: str, telemetry: PredictionLog, table: Log) -> None:
        self.project, self.name, self.telemetry, self.table = project, table, telemetry, table
        self.cursors = Cursors(telemetry.path)
        self._position = self.cursors.position(table)
        self._sets: dict[int, FeatureSet] = {}
        self._lines = PredictionLines({})

    def batch(self, limit: int) -> Batch:
        """Return the next rows as points."""
        rows = self.telemetry.rows_after(self.table, self._position, limit)
        if not rows:
            return Batch([], 0, self._position)
        lines = self._predictions(rows) if self.table == "answers" else self._requests(rows)
        return Batch(lines, len(rows), rows[-1][0])

    def _requests(self, rows: Sequence[tuple[int, tuple[object, ...]]]) -> list[str]:
        return [request_line(self.project, row, values) for row, values in rows]

    def _predictions(self, rows: Sequence[tuple[int, tuple[object, ...]]]) -> list[str]:
        at, used = FIELDS.index("event_time"), FIELDS.index("feature_set")
        newest: dict[int, int] = {}
        for _, values in rows:
            number, moment = int(str(values[used])), int(str(values[at])) * 1000
            newest[number] = max(newest.get(number, moment), moment)
        if not newest.keys() <= self._sets.keys():
            self._sets = {number: FeatureSet(text) for number, text in self.telemetry.feature_sets().items()}
            self._lines = PredictionLines(self._sets)
        # written in each batch: with a retention period the definition is kept as long as the points that refer to it
        lines = [feature_set_line(self.project, self._sets[number], moment) for number, moment in newest.items()]
        return lines + [text for row, values in rows for text in self._lines.of(row, values)]

    def commit(self, position: int) -> None:
        """Store the position up to which the table has been forwarded."""
        self.cursors.commit(self.table, position)
        self._position = position

    def backlog(self) -> int:
        """Return how many rows have not been forwarded yet."""
        return self.telemetry.newest(self.table) - self._position


class LedgerSource:
    """A project's facts, and the labels of each window whose labels arrived.

    Args:
        project: name of the project.
        ledger: the store of facts; it also stores the position.
        lake: returns the lake, from which labels are read.
    """

    name = "ledger"

    def __init__(self, project: str, ledger: Ledger, lake: Callable[[], Lake]) -> None:
        self.project, self.ledger, self.lake = project, ledger, lake

    def batch(self, limit: int) -> Batch:
        """Return the next facts as points."""
        position = self.ledger.position(CONSUMER, self.project)
        facts = self.ledger.facts_after(self.project, position, limit)
        lines: list[str] = []
        for number, fact in facts:
            lines += fact_lines(self.project, number, fact)
            if isinstance(fact, WindowLabelled):
                lines += self._labels(fact)
        return Batch(lines, len(facts), facts[-1][0] if facts else position)

    def _labels(self, fact: WindowLabelled) -> Iterator[str]:
        labels = self.lake().read_window(self.project, "labels", fact.window, fact.data_version)
        (target,) = set(labels.columns) - {"event_time", "entity"}
        return label_lines(self.project, labels.to_dict("records"), target)  # type: ignore[arg-type]

    def commit(self, position: int) -> None:
        """Store the position up to which the facts have been forwarded."""
        self.ledger.set_position(CONSUMER, self.project, position)

    def backlog(self) -> int:
        """Return how many facts have not been forwarded yet."""
        return self.ledger.count_after(self.project, self.ledger.position(CONSUMER, self.project))


class ForwardingSources:
    """Finds the logs of a state folder.

    Args:
        settings: where the state folder, the ledger and the lake are.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._open: dict[str, PredictionLog] = {}

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger; it is opened at its first use, since its server may not run yet."""
        return Ledger(self.settings.ledger)

    @cached_property
    def lake(self) -> Lake:
        """The lake; it is opened when the first labels are read."""
        return Lake(self.settings.lake)

    def __call__(self) -> dict[Key, ForwardingSource]:
        """Return all logs that exist now, by project and name."""
        found: dict[Key, ForwardingSource] = {
            (project, "ledger"): LedgerSource(project, self.ledger, lambda: self.lake)
            for project in self.ledger.projects()
        }
        projects = self.settings.home / "projects"
        for folder in sorted(projects.iterdir()) if projects.exists() else ():
            path = telemetry_path(projects, folder.name)
            if path.exists():
                if folder.name not in self._open:
                    self._open[folder.name] = PredictionLog(path)
                for table in TABLES:
                    found[folder.name, table] = LogSource(folder.name, self._open[folder.name], table)
        return found
