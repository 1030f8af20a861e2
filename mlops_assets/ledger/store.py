"""The ledger: an append-only store of facts, which is authoritative for a project's loop.

It is one table with one row per fact. `(project, kind, key)` is unique, so a fact that is written twice is stored once,
and every writer can be killed and run again. Readers get a `LedgerView`, which is immutable.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.dialects import postgresql, sqlite

from mlops_assets.errors import LedgerError
from mlops_assets.ledger.database import Database
from mlops_assets.ledger.facts import FACTS, AnyFact, Fact
from mlops_assets.ledger.view import LedgerView

FACTS_TABLE = sa.table("facts", *map(sa.column, ("id", "project", "kind", "key", "at", "recorded_at", "body")))
FORWARDED = sa.table("forwarded", *map(sa.column, ("consumer", "project", "position")))


class Ledger:
    """The facts of all projects behind one SQLAlchemy URL.

    Args:
        url: a SQLAlchemy URL. The folder of an SQLite file is created.

    Raises:
        LedgerError: the database refuses a request, or its schema is newer than this platform. Every method may also
            raise LedgerUnreachable.
    """

    def __init__(self, url: str) -> None:
        self.database = Database(url)

    def append(self, project: str, *facts: Fact) -> list[bool]:
        """Write facts in one transaction, and return for each whether it was new."""
        statement = self._insert(FACTS_TABLE).on_conflict_do_nothing(index_elements=["project", "kind", "key"])
        with self.database.begin() as connection:
            if self.database.postgresql:
                # ids are assigned before a transaction commits. One writer at a time, so that no reader skips a fact.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(project))))
            return [connection.execute(statement.values(**_row(project, fact))).rowcount == 1 for fact in facts]

    def _insert(self, table: sa.TableClause) -> postgresql.Insert | sqlite.Insert:
        return postgresql.insert(table) if self.database.postgresql else sqlite.insert(table)

    def view(self, project: str) -> LedgerView:
        """Return a view of all facts of a project, in the order in which they were written."""
        query = sa.select(FACTS_TABLE.c.body).where(FACTS_TABLE.c.project == project).order_by(FACTS_TABLE.c.id)
        with self.database.connect() as connection:
            return LedgerView(project, tuple(_fact(project, body) for body in connection.scalars(query)))

    # Forwarding

    def facts_after(self, project: str, position: int, limit: int) -> list[tuple[int, AnyFact]]:
        """Return the facts of a project after a position, in the order in which they were written, each with its id.

        Args:
            project: the project's name.
            position: id of the last fact that was read; 0 for none.
            limit: the largest number of facts to return.
        """
        query = (
            sa.select(FACTS_TABLE.c.id, FACTS_TABLE.c.body)
            .where(FACTS_TABLE.c.project == project, FACTS_TABLE.c.id > position)
            .order_by(FACTS_TABLE.c.id)
            .limit(limit)
        )
        with self.database.connect() as connection:
            return [(int(number), _fact(project, body)) for number, body in connection.execute(query)]

    def count_after(self, project: str, position: int) -> int:
        """Return how many facts a project has after a position."""
        query = sa.select(sa.func.count()).where(FACTS_TABLE.c.project == project, FACTS_TABLE.c.id > position)
        with self.database.connect() as connection:
            return int(connection.scalar(query) or 0)

    def position(self, consumer: str, project: str) -> int:
        """Return the id of the last fact of a project that a consumer has processed; 0 for none."""
        query = sa.select(FORWARDED.c.position).where(FORWARDED.c.consumer == consumer, FORWARDED.c.project == project)
        with self.database.connect() as connection:
            return int(connection.scalar(query) or 0)

    def set_position(self, consumer: str, project: str, position: int) -> None:
        """Store the id of the last fact of a project that a consumer has processed."""
        insert = self._insert(FORWARDED).values(consumer=consumer, project=project, position=position)
        statement = insert.on_conflict_do_update(
            index_elements=["consumer", "project"], set_={"position": insert.excluded.position}
        )
        with self.database.begin() as connection:
            connection.execute(statement)

    def projects(self) -> list[str]:
        """Return the names of all projects that have facts."""
        with self.database.connect() as connection:
            return list(connection.scalars(sa.select(FACTS_TABLE.c.project).distinct().order_by(FACTS_TABLE.c.project)))


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
    """Return a fact from its stored text. Facts never change, so parsed ones are cached."""
    try:
        return FACTS.validate_json(body)
    except ValidationError as error:
        kind = json.loads(body).get("kind")
        raise LedgerError(
            project,
            f"ledger, a fact of kind {kind!r}",
            f"this version of the platform cannot read it: {error.error_count()} invalid field(s)",
            "use the version of the platform that wrote the state folder, or start with an empty one",
        ) from error
