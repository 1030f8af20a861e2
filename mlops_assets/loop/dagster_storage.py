"""Dagster's storage: which one it is, and what is said when it does not answer, or refuses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.runs import SqlRunStorage

from mlops_assets.errors import DagsterError, DagsterUnreachable, PlatformError
from mlops_assets.ledger.database import may_pass, words_of
from mlops_assets.ledger.lease import Holder

NAMING = threading.Lock()
"""Dagster gives its storage an id when it is first asked for, and sensors tick in several threads."""
NAMED: set[str] = set()
"""Ids of storages that this process has looked at; each look is a login where Dagster's storage is on a server."""


@contextmanager
def asked(project: str) -> Iterator[None]:
    """Questions to Dagster's storage, which answers for itself in SQLAlchemy's words, or in its own around them.

    Args:
        project: whose loop asks; `-` for none.

    Raises:
        DagsterError: its database refuses.
        DagsterUnreachable: its database does not answer now.
    """
    try:
        yield
    except PlatformError:
        raise
    except Exception as error:
        causes = [each for each in (error, error.__cause__) if isinstance(each, sa.exc.DBAPIError)]
        if not causes:
            raise
        kind, found = (DagsterUnreachable, "does not answer") if may_pass(causes[0]) else (DagsterError, "refuses")
        remedy = "look at the database that dagster.yaml names, and at DAGSTER_HOME"
        raise kind(project, "Dagster's storage", f"its database {found}: {words_of(causes[0])}", remedy) from error


def holder_of(instance: dg.DagsterInstance) -> Holder:
    """The Dagster of an instance, as one that carries out loops: all processes over one storage are the same one.

    Raises:
        DagsterError: its storage has no id.
    """
    storage = instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        remedy = "use Dagster's storage on SQLite or PostgreSQL"
        raise DagsterError("-", "Dagster's storage", f"{type(storage).__name__} has no id to know it by", remedy)
    with NAMING:
        found = storage.get_run_storage_id()
        if found not in NAMED:
            # of several ids that processes gave at once the first one stands, and only a second look is sure to see it
            found = storage.get_run_storage_id()
            NAMED.add(found)
    where = f"started in {Path.cwd()} on {socket.gethostname()}, its own files in {instance.root_directory}"
    return Holder(found, where)
