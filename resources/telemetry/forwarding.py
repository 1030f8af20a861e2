"""What is forwarded: a state folder's logs, record by record as points, and the place up to which they are there."""

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
    label_lines,
    request_line,
    set_line,
)
from mlops_assets.resources.telemetry.prediction_log import Log, PredictionLog, telemetry_path

CURSORS = "forwarded.sqlite"
TABLES: tuple[Log, ...] = ("answers", "requests")
CONSUMER = "influxdb"
Key = tuple[str, str]
"""Project and name of a log."""


@dataclass(frozen=True)
class Batch:
    """Records of one log as points.

    Attributes:
        lines: in the line protocol.
        records: how many records they come from.
        position: where the log was read to.
    """

    lines: list[str]
    records: int
    position: int


class Source(Protocol):
    """A log that is forwarded."""

    @property
    def project(self) -> str:
        """Whose."""

    @property
    def name(self) -> str:
        """Which log."""

    def batch(self, limit: int) -> Batch:
        """What comes next; no records when there is nothing."""

    def commit(self, position: int) -> None:
        """Keep the place up to which InfluxDB has it."""

    def backlog(self) -> int:
        """Records that InfluxDB does not have."""


class Cursors:
    """Up to which row InfluxDB has each log of a project; a file beside the log, so that no answer waits for it.

    Args:
        log: the answer log's file.
    """

    def __init__(self, log: Path) -> None:
        self.path = log.with_name(CURSORS)

    def position(self, table: Log) -> int:
        """Number of the newest row that is there; 0 for none."""
        if not self.path.exists():
            return 0
        with self._open() as connection:
            row = connection.execute("SELECT row FROM forwarded WHERE log = ?", (table,)).fetchone()
        return int(row[0]) if row else 0

    def commit(self, table: Log, row: int) -> None:
        """Keep a place."""
        with self._open() as connection:
            connection.execute(
                "INSERT INTO forwarded VALUES (?, ?) ON CONFLICT (log) DO UPDATE SET row = excluded.row", (table, row)
            )

    def _open(self) -> _Connection:
        return _Connection(self.path)


class _Connection:
    """A connection that commits and closes."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, timeout=30)
        self.connection.execute("CREATE TABLE IF NOT EXISTS forwarded (log TEXT PRIMARY KEY, row INTEGER NOT NULL)")

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.connection.commit()
        self.connection.close()


def behind(log: PredictionLog) -> int:
    """How many records of a service's log InfluxDB does not have."""
    cursors = Cursors(log.path)
    return sum(log.newest(table) - cursors.position(table) for table in TABLES)


class LogSource:
    """One log of a project's service.

    Args:
        project: its name.
        telemetry: the service's file.
        table: which of its logs.
    """

    def __init__(self, project: str, telemetry: PredictionLog, table: Log) -> None:
        self.project, self.name, self.telemetry, self.table = project, table, telemetry, table
        self.cursors = Cursors(telemetry.path)
        self._position = self.cursors.position(table)
        self._sets: dict[int, FeatureSet] = {}
        self._lines = PredictionLines({})

    def batch(self, limit: int) -> Batch:
        """Rows behind the kept place, as points."""
        rows = self.telemetry.after(self.table, self._position, limit)
        if not rows:
            return Batch([], 0, self._position)
        lines = self._answers(rows) if self.table == "answers" else self._requests(rows)
        return Batch(lines, len(rows), rows[-1][0])

    def _requests(self, rows: Sequence[tuple[int, tuple[object, ...]]]) -> list[str]:
        return [request_line(self.project, row, values) for row, values in rows]

    def _answers(self, rows: Sequence[tuple[int, tuple[object, ...]]]) -> list[str]:
        at, used = FIELDS.index("event_time"), FIELDS.index("feature_set")
        newest: dict[int, int] = {}
        for _, values in rows:
            number, moment = int(str(values[used])), int(str(values[at])) * 1000
            newest[number] = max(newest.get(number, moment), moment)
        if not newest.keys() <= self._sets.keys():
            self._sets = {number: FeatureSet(text) for number, text in self.telemetry.feature_sets().items()}
            self._lines = PredictionLines(self._sets)
        # in each batch anew: a bucket that forgets keeps the definition as long as what refers to it
        lines = [set_line(self.project, self._sets[number], moment) for number, moment in newest.items()]
        return lines + [text for row, values in rows for text in self._lines.of(row, values)]

    def commit(self, position: int) -> None:
        """Keep the place."""
        self.cursors.commit(self.table, position)
        self._position = position

    def backlog(self) -> int:
        """Rows behind the kept place."""
        return self.telemetry.newest(self.table) - self._position


class LedgerSource:
    """A project's facts, and with each window's labels these themselves.

    Args:
        project: its name.
        ledger: keeps the place, too.
        lake: where labels are.
    """

    name = "ledger"

    def __init__(self, project: str, ledger: Ledger, lake: Callable[[], Lake]) -> None:
        self.project, self.ledger, self.lake = project, ledger, lake

    def batch(self, limit: int) -> Batch:
        """Facts behind the kept place, as points."""
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
        """Keep the place."""
        self.ledger.set_position(CONSUMER, self.project, position)

    def backlog(self) -> int:
        """Facts behind the kept place."""
        return self.ledger.count_after(self.project, self.ledger.position(CONSUMER, self.project))


class Logs:
    """Finds the logs of a state folder.

    Args:
        settings: where they are.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._open: dict[str, PredictionLog] = {}

    @cached_property
    def ledger(self) -> Ledger:
        """Opened when first asked: its server may not be there yet."""
        return Ledger(self.settings.ledger)

    @cached_property
    def lake(self) -> Lake:
        """Where labels are; opened when the first are read."""
        return Lake(self.settings.lake)

    def __call__(self) -> dict[Key, Source]:
        """All sources there are now."""
        found: dict[Key, Source] = {
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
