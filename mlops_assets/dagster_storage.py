"""Dagster's storage, where it is on a server: what is said when it does not answer, or refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from mlops_assets.errors import DagsterError, DagsterUnreachable, PlatformError
from mlops_assets.retraining.database import may_pass, words_of


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
