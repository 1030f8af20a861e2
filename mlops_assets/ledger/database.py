"""The ledger's database: connections with retries, schema migrations, and translation of errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
import tenacity

from mlops_assets.errors import LedgerError, LedgerUnreachable, translate_errors

SCHEMA = "0003"
"""The schema's version: that of the newest migration."""
VERSION_TABLE = "ledger_version"
"""Alembic's version table. Dagster's storage may use the same database and has its own `alembic_version` there."""
UNVERSIONED_TABLES = (("forwarded", "0002"), ("facts", "0001"))
"""The schema's version by the newest table of a database without a version table: releases once stored no version."""
RETRY_SECONDS = 6.0
"""Seconds for which connecting is tried again, as while a server restarts."""
LIBPQ_OPTIONS = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""Make libpq notice within seconds that a host is gone; its defaults take minutes."""
ENGINES: dict[str, sa.Engine] = {}
"""The engines of this process, by URL."""
MIGRATION_LOCK = 0x6C6564676572
"""Key of PostgreSQL's advisory lock that is held while the schema is migrated."""
PERMANENT_FAILURES = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
)
"""Parts of libpq's messages for which trying again does not help. libpq has no error codes for connecting."""


class Database:
    """Connections and transactions on the ledger's database. The schema is migrated when it is opened.

    Args:
        url: a SQLAlchemy URL. The folder of an SQLite file is created.

    Raises:
        LedgerError: the database refuses a request, or its schema is newer than this platform.
        LedgerUnreachable: the database does not answer.
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
        """Yield a connection to read from.

        Raises:
            LedgerError: the database refuses a request.
            LedgerUnreachable: the database did not answer for `RETRY_SECONDS`.
        """
        # closing the connection ends its transaction, which can fail too
        with (
            translate_errors({sa.exc.DBAPIError: lambda error: self._error(error, error.connection_invalidated)}),
            self._connection() as connection,
        ):
            yield connection

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Yield a connection with a transaction that is committed when the block ends without an error.

        Raises:
            LedgerError: the database refuses a request.
            LedgerUnreachable: the database did not answer for `RETRY_SECONDS`, or the connection broke. When it broke
                during the commit, the transaction may have been committed.
        """
        with self.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Close the idle connections. Later requests open new ones."""
        self.engine.dispose()

    def _connection(self) -> sa.Connection:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_temporary),
            wait=tenacity.wait_random_exponential(0.2, max=2),
            stop=tenacity.stop_after_delay(RETRY_SECONDS),
            reraise=True,
        )
        with translate_errors({sa.exc.DBAPIError: lambda error: self._error(error, is_temporary(error))}):
            return retrying(self.engine.connect)

    def _error(self, error: sa.exc.DBAPIError, temporary: bool) -> LedgerError:
        if temporary:
            remedy = "check MLOPS_ASSETS_DATABASE_URL and the server, then try again"
            return LedgerUnreachable("-", self.place, f"it does not answer: {driver_message(error)}", remedy)
        settings = "MLOPS_ASSETS_DATABASE_URL, PGPASSWORD and PGPASSFILE" if self.postgresql else "MLOPS_ASSETS_HOME"
        remedy = f"check {settings}, and the rights on it"
        return LedgerError("-", self.place, f"it refused a request: {driver_message(error)}", remedy)

    # The schema

    def _version(self, connection: sa.Connection) -> str | None:
        """Return the schema's version; None for a database without a version table.

        Raises:
            LedgerError: the version is newer than this platform.
        """
        if not sa.inspect(connection).has_table(VERSION_TABLE):
            return None
        version = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
        if version is None or version > SCHEMA:
            raise LedgerError(
                "-",
                self.place,
                f"its schema has version {version}; this platform supports versions up to {SCHEMA}",
                "use the version of the platform that wrote it, or another database",
            )
        return str(version)

    def _migrate(self) -> None:
        """Bring the schema up to date in one transaction, one process at a time."""
        from alembic import command
        from alembic.config import Config

        with self.connect() as connection:
            if self.postgresql:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            else:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            config = Config()
            config.set_main_option("script_location", "mlops_assets.ledger:migrations")
            config.attributes["connection"] = connection
            if self._version(connection) is None:
                tables = sa.inspect(connection).get_table_names()
                unversioned = next((version for table, version in UNVERSIONED_TABLES if table in tables), None)
                if unversioned is not None:
                    command.stamp(config, unversioned)
            command.upgrade(config, SCHEMA)
            connection.commit()


def is_temporary(error: BaseException) -> bool:
    """Return whether the same request may succeed later: the server did not answer, or ended during the request."""
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    if not isinstance(error, sa.exc.OperationalError) or isinstance(error.orig, sqlite3.Error):
        return False
    return not any(each in str(error.orig) for each in PERMANENT_FAILURES)


def _engine(url: str) -> sa.Engine:
    """Return the process's engine for a URL. It is kept, because connecting to PostgreSQL costs more than a query."""
    if url not in ENGINES:
        if sa.engine.make_url(url).get_backend_name() == "postgresql":
            engine = sa.create_engine(url, pool_size=1, max_overflow=8, pool_pre_ping=True, connect_args=LIBPQ_OPTIONS)
        else:
            engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
            sa.event.listen(engine, "connect", _prepare_sqlite)
        ENGINES[url] = engine
    return ENGINES[url]


def _forget_connections() -> None:
    for engine in ENGINES.values():
        engine.dispose(close=False)


# a forked process must neither use its parent's connections nor close them
os.register_at_fork(after_in_child=_forget_connections)


def driver_message(error: sa.exc.DBAPIError) -> str:
    """Return the message of the database driver in one line."""
    return " ".join(str(error.orig).split())


def _prepare_sqlite(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()
