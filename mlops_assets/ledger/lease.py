"""The lease on a project's loop: only one Dagster at a time runs it.

Dagster prevents two daemons over one storage. Two storages over one ledger (on two machines, or with two DAGSTER_HOMEs)
do not know each other, and both would train for the same decision. So the one that runs the loop holds a lease in the
ledger's database, and renews it. A lease is not a fact: it is overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mlops_assets.ledger.database import Database

LEASES = sa.table("leases", *map(sa.column, ("project", "holder", "place", "renewed")))
LEASE_SECONDS = 60
"""Seconds that a lease is valid after its last renewal."""
MAX_CLOCK_SKEW = 5
"""Seconds that a renewal may lie in the future. One that lies further ahead is not valid: the clock was set back."""
RENEW_AFTER = 15
"""Seconds between two renewals; sensors run every few seconds and need not write each time."""


@dataclass(frozen=True)
class LeaseHolder:
    """A Dagster that can hold leases.

    Args:
        id: identifies its storage; it stays the same over restarts.
        place: where it runs, for messages.
    """

    id: str
    place: str


@dataclass(frozen=True)
class LeaseConflict:
    """The lease is held by another Dagster.

    Args:
        place: where that one runs.
        seconds: seconds since it renewed the lease.
    """

    place: str
    seconds: int

    def __str__(self) -> str:
        return (
            f"another Dagster ({self.place}) runs this project's loop; it renewed its lease {self.seconds} s ago. "
            f"Stop one of the two; this one takes over {LEASE_SECONDS} s after the other's last renewal"
        )


class Lease:
    """A project's lease.

    Args:
        database: the ledger's database. Every method may raise LedgerError and LedgerUnreachable.
        project: the project's name.
    """

    def __init__(self, database: Database, project: str) -> None:
        self.database, self.project = database, project

    def take(self, holder: LeaseHolder) -> LeaseConflict | None:
        """Take or renew the lease; return the conflict if another Dagster holds it, else None."""
        with self.database.connect() as connection:
            row = self._row(connection)
        if row is not None and row.holder == holder.id and 0 <= row.seconds < RENEW_AFTER:
            return None
        if (conflict := _conflict(row, holder)) is not None:
            return conflict
        insert = postgresql.insert if self.database.postgresql else sqlite.insert
        new = insert(LEASES).values(project=self.project, holder=holder.id, place=holder.place, renewed=self._clock)
        age = new.excluded.renewed - LEASES.c.renewed
        free = sa.or_(LEASES.c.holder == holder.id, sa.not_(age.between(-MAX_CLOCK_SKEW, LEASE_SECONDS)))
        statement = new.on_conflict_do_update(
            index_elements=["project"],
            set_={name: new.excluded[name] for name in ("holder", "place", "renewed")},
            where=free,
        )
        with self.database.begin() as connection:
            connection.execute(statement)
            return _conflict(self._row(connection), holder)

    def conflict(self, holder: LeaseHolder) -> LeaseConflict | None:
        """Return the conflict if another Dagster holds the lease, else None. Nothing is written."""
        with self.database.connect() as connection:
            return _conflict(self._row(connection), holder)

    def _row(self, connection: sa.Connection) -> sa.Row[tuple[str, str, int]] | None:
        seconds = (self._clock - LEASES.c.renewed).label("seconds")
        query = sa.select(LEASES.c.holder, LEASES.c.place, seconds).where(LEASES.c.project == self.project)
        return connection.execute(query).one_or_none()

    @property
    def _clock(self) -> sa.ColumnElement[int]:
        """The database's time in POSIX seconds: the clocks of two machines may differ."""
        if self.database.postgresql:
            return sa.cast(sa.func.date_part("epoch", sa.func.now()), sa.BigInteger)
        return sa.cast(sa.func.strftime("%s", "now"), sa.BigInteger)


def _conflict(row: sa.Row[tuple[str, str, int]] | None, holder: LeaseHolder) -> LeaseConflict | None:
    if row is None or row.holder == holder.id or not -MAX_CLOCK_SKEW <= row.seconds <= LEASE_SECONDS:
        return None
    return LeaseConflict(row.place, max(0, row.seconds))
