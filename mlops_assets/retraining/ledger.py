"""The ledger: an append-only store of facts, and the one truth about a project's loop.

One table, one row a fact. `(project, kind, key)` is unique, so writing a fact twice leaves one: every writer may be
killed and run again. Readers get a `History`, an immutable view that answers the loop's questions.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects import postgresql, sqlite

from mlops_assets.errors import LedgerError
from mlops_assets.retraining.history import History
from mlops_assets.retraining.records import FACTS, AnyFact, Fact

METADATA = sa.MetaData()
TABLE = sa.Table(
    "facts",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("key", sa.String, nullable=False),
    sa.Column("at", sa.String, nullable=False),
    sa.Column("recorded_at", sa.String, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("project", "kind", "key", name="one_of_each_fact"),
)


class Ledger:
    """The facts of all projects behind one SQLAlchemy URL.

    Args:
        url: a SQLAlchemy URL; the folder of an SQLite file is created.
    """

    def __init__(self, url: str) -> None:
        database = sa.engine.make_url(url).database
        if url.startswith("sqlite") and database:
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        # NullPool: a connection never outlives its use, so that forks and many short processes are safe.
        self.engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
        METADATA.create_all(self.engine)

    def append(self, project: str, *facts: Fact) -> list[bool]:
        """Write facts in one transaction; tells for each whether it was new."""
        insert = (postgresql if self.engine.dialect.name == "postgresql" else sqlite).insert(TABLE)
        statement = insert.on_conflict_do_nothing(index_elements=["project", "kind", "key"])
        with self.engine.begin() as connection:
            return [connection.execute(statement.values(**_row(project, fact))).rowcount == 1 for fact in facts]

    def history(self, project: str) -> History:
        """Everything that is known about a project, in the order of writing."""
        query = sa.select(TABLE.c.body).where(TABLE.c.project == project).order_by(TABLE.c.id)
        with self.engine.connect() as connection:
            return History(project, tuple(_fact(project, body) for body in connection.scalars(query)))

    def projects(self) -> list[str]:
        """Names of all projects that have facts."""
        with self.engine.connect() as connection:
            return list(connection.scalars(sa.select(TABLE.c.project).distinct().order_by(TABLE.c.project)))


def _prepare_sqlite(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()


def _row(project: str, fact: Fact) -> dict[str, str]:
    return {
        "project": project,
        "kind": fact.kind,
        "key": fact.key,
        "at": fact.at.astimezone(UTC).isoformat(),
        "recorded_at": datetime.now(UTC).isoformat(),
        "body": fact.model_dump_json(),
    }


@lru_cache(maxsize=50_000)
def _fact(project: str, body: str) -> AnyFact:
    """A fact from its row. Facts never change, so what one look at the ledger has read the next one need not."""
    try:
        return FACTS.validate_json(body)
    except ValidationError as error:
        kind = json.loads(body).get("kind")
        raise LedgerError(
            project,
            f"ledger, a fact of kind {kind!r}",
            f"this version of the platform cannot read it: {error.error_count()} field(s) do not fit",
            "use the version of the platform that wrote the state folder, or start with an empty one",
        ) from error
