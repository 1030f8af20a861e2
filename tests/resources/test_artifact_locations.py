"""An embedded MLflow finds its artifacts after its state folder has been moved."""

import sqlite3
from pathlib import Path

import pytest

from mlops_assets.resources.tracking.artifact_locations import COLUMNS, follow_moved_folder


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "mlflow.db"
    tables: dict[str, list[str]] = {}
    for table, column in COLUMNS:
        tables.setdefault(table, []).append(column)
    with sqlite3.connect(path) as connection:
        for table, columns in tables.items():
            connection.execute(f"CREATE TABLE {table} (name TEXT, {', '.join(columns)})")
        for name in ("rentals", "rentals_2"):
            folder = f"file:///before/mlflow/artifacts/{name}"
            connection.execute("INSERT INTO experiments VALUES (?, ?)", (name, folder))
            connection.execute("INSERT INTO runs VALUES (?, ?)", (name, f"{folder}/run/artifacts"))
            connection.execute(
                "INSERT INTO model_versions VALUES (?, 'models:/m-1', ?)", (name, f"{folder}/models/m-1")
            )
    return path


def locations(database: Path, name: str) -> list[str]:
    with sqlite3.connect(database) as connection:
        found = [
            connection.execute(f"SELECT {column} FROM {table} WHERE name = ?", (name,)).fetchone()
            for table, column in COLUMNS
        ]
    return [str(row[0]) for row in found if row is not None]


def test_locations_follow_the_moved_folder(database: Path, tmp_path: Path) -> None:
    others = locations(database, "rentals_2")
    artifacts = tmp_path / "mlflow" / "artifacts"
    assert follow_moved_folder(database, artifacts, "rentals") == 3
    folder = (artifacts / "rentals").as_uri()
    assert locations(database, "rentals") == [folder, f"{folder}/run/artifacts", "models:/m-1", f"{folder}/models/m-1"]
    assert locations(database, "rentals_2") == others, "of this project alone"
    assert follow_moved_folder(database, artifacts, "rentals") == 0


@pytest.mark.parametrize("location", ["gs://bucket/rentals", "file:///shared/rentals"])
def test_an_experiment_stored_elsewhere_stays_there(database: Path, tmp_path: Path, location: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (location,))
    assert follow_moved_folder(database, tmp_path / "mlflow" / "artifacts", "rentals") == 0
    assert locations(database, "rentals")[0] == location


def test_an_empty_database_is_left_alone(tmp_path: Path) -> None:
    assert follow_moved_folder(tmp_path / "new.db", tmp_path / "mlflow" / "artifacts", "rentals") == 0


def test_a_project_without_an_experiment_has_no_locations(database: Path, tmp_path: Path) -> None:
    assert follow_moved_folder(database, tmp_path / "mlflow" / "artifacts", "never_trained") == 0
