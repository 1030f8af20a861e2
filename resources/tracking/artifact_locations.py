"""Artifact locations in an embedded MLflow's database, which are absolute, after its state folder has been moved."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow stores the location of artifacts: table and column."""


def follow_moved_folder(database: Path, artifacts: Path, project: str) -> int:
    """Write the artifact locations of a project again if its state folder has been moved or copied.

    MLflow would otherwise look for artifacts, and store new ones, where the folder was when the experiment was created.

    Args:
        database: MLflow's SQLite database.
        artifacts: the folder of the artifacts, whose last two parts are the same in every state folder.
        project: the project; its experiment has its name.

    Returns:
        How many locations were written: 0 if the experiment does not exist, or was stored elsewhere on purpose.
    """
    folder = artifacts / project
    inside = "/".join(folder.parts[-3:])
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone() is None:
            return 0
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        found = connection.execute(query, (project,)).fetchone()
        if found is None or found[0] == folder.as_uri():
            return 0
        before = str(found[0])
        if not (before.startswith("file://") and before.endswith(f"/{inside}")):
            return 0
        written = 0
        for table, column in COLUMNS:
            update = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?"
            values = (folder.as_uri(), len(before) + 1, len(before) + 1, f"{before}/")
            written += connection.execute(update, values).rowcount
        return written
