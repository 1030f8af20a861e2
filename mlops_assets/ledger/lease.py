"""Who carries out a project's loop: a lease in the ledger's database, so that two Dagsters do not do the same work.

Dagster keeps its own daemons apart by its storage. Two storages over one ledger (two machines, or two DAGSTER_HOMEs)
know nothing of each other: both would train for the same decision. The lease is no fact of the project's history: it
says who is there now, and is overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mlops_assets.ledger.database import Database

LEASES = sa.table("leases", *map(sa.column, ("project", "holder", "place", "renewed")))
LENGTH = 60
"""Seconds after its holder's last sign of life in which nobody else gets it."""
AHEAD = 5
"""A sign of life that lies further in the future is none: the clock was set back since."""
RENEW_AFTER = 15
"""Seconds after which a holder gives a sign of life; it looks every few seconds, and need not write each time."""


@dataclass(frozen=True)
class Holder:
    """One that carries out loops.

    Args:
        id: the same after a restart, another one for everybody else.
        place: where it runs, for people.
    """

    id: str
    place: str


@dataclass(frozen=True)
class LeaseConflict:
    """Somebody else has the lease.

    Args:
        place: where it runs.
        seconds: since its last sign of life.
    """

    place: str
    seconds: int

    def __str__(self) -> str:
        return (
            f"another Dagster ({self.place}) carries out this project's loop (last sign of life {self.seconds} s ago); "
            f"end one of the two: {LENGTH} s after that one's last sign this one goes on"
        )


class Lease:
    """A project's lease.

    Args:
        database: the ledger's. Every method may raise what its connections do.
        project: its name.
    """

    def __init__(self, database: Database, project: str) -> None:
        self.database, self.project = database, project

    def take(self, holder: Holder) -> LeaseConflict | None:
        """Take it, or give a sign of life; who has it, if it is somebody else."""
        with self.database.connect() as connection:
            row = self._row(connection)
        if row is not None and row.holder == holder.id and 0 <= row.seconds < RENEW_AFTER:
            return None
        if (conflict := _conflict(row, holder)) is not None:
            return conflict
        insert = postgresql.insert if self.database.postgresql else sqlite.insert
        new = insert(LEASES).values(project=self.project, holder=holder.id, place=holder.place, renewed=self._clock)
        silent = new.excluded.renewed - LEASES.c.renewed
        free = sa.or_(LEASES.c.holder == holder.id, sa.not_(silent.between(-AHEAD, LENGTH)))
        statement = new.on_conflict_do_update(
            index_elements=["project"],
            set_={name: new.excluded[name] for name in ("holder", "place", "renewed")},
            where=free,
        )
        with self.database.begin() as connection:
            connection.execute(statement)
            return _conflict(self._row(connection), holder)

    def conflict(self, holder: Holder) -> LeaseConflict | None:
        """Who has it, if it is somebody else."""
        with self.database.connect() as connection:
            return _conflict(self._row(connection), holder)

    def _row(self, connection: sa.Connection) -> sa.Row[tuple[str, str, int]] | None:
        seconds = (self._clock - LEASES.c.renewed).label("seconds")
        query = sa.select(LEASES.c.holder, LEASES.c.place, seconds).where(LEASES.c.project == self.project)
        return connection.execute(query).one_or_none()

    @property
    def _clock(self) -> sa.ColumnElement[int]:
        """The database's, where it is a server: the clocks of two machines may differ."""
        if self.database.postgresql:
            return sa.cast(sa.func.date_part("epoch", sa.func.now()), sa.BigInteger)
        return sa.cast(sa.func.strftime("%s", "now"), sa.BigInteger)


def _conflict(row: sa.Row[tuple[str, str, int]] | None, holder: Holder) -> LeaseConflict | None:
    if row is None or row.holder == holder.id or not -AHEAD <= row.seconds <= LENGTH:
        return None
    return LeaseConflict(row.place, max(0, row.seconds))
