"""Dagster's storage: its id, and the translation of its errors."""

from __future__ import annotations

import socket
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.runs import SqlRunStorage

from mlops_assets.errors import DagsterError, DagsterUnreachable, PlatformError, translate_errors, unchanged
from mlops_assets.ledger.database import driver_message, is_temporary
from mlops_assets.ledger.lease import LeaseHolder

ID_LOCK = threading.Lock()
"""Dagster makes the id of its storage at the first request for it, and sensors run in several threads."""
CONFIRMED_IDS: set[str] = set()
"""Ids of storages that this process has read twice."""


def translate_storage_errors(project: str) -> AbstractContextManager[None]:
    """Translate database errors of Dagster's storage, which are SQLAlchemy's errors or wrap them.

    Args:
        project: name of the project whose loop reads the storage; `-` for none.

    Raises:
        DagsterError: the database refuses a request.
        DagsterUnreachable: the database does not answer now.
    """

    def translate(error: Exception) -> DagsterError | None:
        causes = [each for each in (error, error.__cause__) if isinstance(each, sa.exc.DBAPIError)]
        if not causes:
            return None
        temporary = is_temporary(causes[0])
        kind, found = (DagsterUnreachable, "does not answer") if temporary else (DagsterError, "refused a request")
        remedy = "check the database that dagster.yaml names, and DAGSTER_HOME"
        return kind(project, "Dagster's storage", f"its database {found}: {driver_message(causes[0])}", remedy)

    return translate_errors({PlatformError: unchanged, Exception: translate})


def lease_holder(instance: dg.DagsterInstance) -> LeaseHolder:
    """Return a Dagster instance as a lease holder. All processes over one storage are the same holder.

    Raises:
        DagsterError: the storage has no id.
    """
    storage = instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        remedy = "use Dagster's storage on SQLite or PostgreSQL"
        raise DagsterError("-", "Dagster's storage", f"{type(storage).__name__} has no id", remedy)
    with ID_LOCK:
        found = storage.get_run_storage_id()
        if found not in CONFIRMED_IDS:
            # several processes may make an id at once; the first one written is kept, and only a second read sees it
            found = storage.get_run_storage_id()
            CONFIRMED_IDS.add(found)
    where = f"started in {Path.cwd()} on {socket.gethostname()}, DAGSTER_HOME {instance.root_directory}"
    return LeaseHolder(found, where)
