"""The ledger's database: reached with patience, its schema brought up to date, what is wrong with it said."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import tenacity

from mlops_assets.errors import LedgerError, LedgerUnreachable

SCHEMA = "0003"
"""The newest version that `migrations` knows."""
VERSION_TABLE = "ledger_version"
"""Dagster's storage may lie in the same database, with an `alembic_version` of its own."""
FIRST = (("forwarded", "0002"), ("facts", "0001"))
"""What a database without a version is, by the newest table that it has: the first two versions did not note theirs."""
PATIENCE = 6.0
"""Seconds that a server may be away, as when it is restarted, before its user hears of it."""
NOTICED = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""How libpq notices within seconds that a host is gone without a word; by itself it would wait for minutes."""
ENGINES: dict[str, sa.Engine] = {}
"""Of this process, by URL."""
LOCK = 0x6C6564676572
"""PostgreSQL's advisory lock for migrations."""
REFUSED = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
)
"""What libpq says when trying again does not help; it has no codes for what goes wrong while connecting."""


class Database:
    """Transactions on the ledger's database.

    Args:
        url: a SQLAlchemy URL; the folder of an SQLite file is created.

    Raises:
        LedgerError: it is refused, or of a version that this platform does not know.
        LedgerUnreachable: it does not answer.
    """

    def __init__(self, url: str) -> None:
        found = sa.engine.make_url(url)
        if found.get_backend_name() == "sqlite" and found.database:
            Path(found.database).parent.mkdir(parents=True, exist_ok=True)
        self.place = f"ledger at {found.render_as_string(hide_password=True)}"
        self.postgresql = found.get_backend_name() == "postgresql"
        self.engine = _engine(url)
        with self.connect() as connection:
            version = self._version(connection)
        if version != SCHEMA:
            self._migrate()

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A connection to read from.

        Raises:
            LedgerError: it is refused.
            LedgerUnreachable: it did not answer for `PATIENCE` seconds.
        """
        try:
            # giving the connection back ends its transaction, which needs the server too
            with self._connection() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            raise (self._away if error.connection_invalidated else self._refused)(error) from error

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: all that is written in it, or nothing.

        Raises:
            LedgerError, LedgerUnreachable: as `connect`. When the connection breaks as it is committed, it may have
                been.
        """
        with self.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Give its idle connections back; who asks again gets a new one."""
        self.engine.dispose()

    def _connection(self) -> sa.Connection:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_pass),
            wait=tenacity.wait_random_exponential(0.2, max=2),
            stop=tenacity.stop_after_delay(PATIENCE),
            reraise=True,
        )
        try:
            return retrying(self.engine.connect)
        except sa.exc.DBAPIError as error:
            raise (self._away if may_pass(error) else self._refused)(error) from error

    def _refused(self, error: sa.exc.DBAPIError) -> LedgerError:
        settings = "MLOPS_ASSETS_DATABASE_URL, PGPASSWORD and PGPASSFILE" if self.postgresql else "MLOPS_ASSETS_HOME"
        return LedgerError("-", self.place, f"it refuses: {words_of(error)}", f"look at {settings}, and at its rights")

    def _away(self, error: sa.exc.DBAPIError) -> LedgerUnreachable:
        return LedgerUnreachable(
            "-",
            self.place,
            f"it does not answer: {words_of(error)}",
            "look at MLOPS_ASSETS_DATABASE_URL and at the server; what was asked may be asked again",
        )

    # The schema

    def _version(self, connection: sa.Connection) -> str | None:
        """The schema's version; None: it has none.

        Raises:
            LedgerError: this platform does not know it.
        """
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return None
        version = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
        if version is None or version > SCHEMA:
            raise LedgerError(
                "-",
                self.place,
                f"its schema has version {version}, this platform knows those up to {SCHEMA}",
                "use the version of the platform that wrote it, or another database",
            )
        return str(version)

    def _migrate(self) -> None:
        """One process at a time, and wholly or not at all, whichever database it is."""
        from alembic import command
        from alembic.config import Config

        with self.connect() as connection:
            if self.postgresql:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
            else:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            config = Config()
            config.set_main_option("script_location", "mlops_assets.ledger:migrations")
            config.attributes["connection"] = connection
            if self._version(connection) is None:
                tables = sa.inspect(connection).get_table_names()
                unnoted = next((version for table, version in FIRST if table in tables), None)
                if unnoted is not None:
                    command.stamp(config, unnoted)
            command.upgrade(config, SCHEMA)
            connection.commit()


def may_pass(error: BaseException) -> bool:
    """Whether a server that did not answer, or that ended under a question, may answer later."""
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    if not isinstance(error, sa.exc.OperationalError) or isinstance(error.orig, sqlite3.Error):
        return False
    return not any(each in str(error.orig) for each in REFUSED)


def _engine(url: str) -> sa.Engine:
    """One for the life of a process: to connect to PostgreSQL costs both sides more than all that is asked then."""
    if url not in ENGINES:
        if sa.engine.make_url(url).get_backend_name() == "postgresql":
            engine = sa.create_engine(url, pool_size=1, max_overflow=8, pool_pre_ping=True, connect_args=NOTICED)
        else:
            engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
            sa.event.listen(engine, "connect", _prepare_sqlite)
        ENGINES[url] = engine
    return ENGINES[url]


def _forget_connections() -> None:
    for engine in ENGINES.values():
        engine.dispose(close=False)


# a forked process must neither speak on its parent's connections nor close them
os.register_at_fork(after_in_child=_forget_connections)


def words_of(error: sa.exc.DBAPIError) -> str:
    """What the driver said, in one line."""
    return " ".join(str(error.orig).split())


def _prepare_sqlite(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()
