"""A project can be read in Python without Dagster: data, predictions, versions, reports and decisions."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlops_assets.project
from mlops_assets import open_project
from mlops_assets.errors import InputError, NotReady, SpecError
from mlops_assets.project import Project

PNG = b"\x89PNG\r\n"


def test_reading_a_project_loads_no_heavy_library(project_folder: Path, home: Path) -> None:
    code = f"""
import sys
from mlops_assets import open_project
project = open_project({str(project_folder)!r}, home={str(home)!r})
project.rows(), project.predictions(), project.features(), project.decisions(), project.versions()
project.reports("performance").to_frame(), project.champion, project.verdicts()
heavy = ("dagster", "mlflow", "h2o", "tsfresh", "evidently", "matplotlib", "sklearn", "jpype", "dvc")
print(sorted(name for name in heavy if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_examples_in_docstrings_are_true(project: Project) -> None:
    result = doctest.testmod(
        mlops_assets.project, extraglobs={"project": project, "open_project": open_project}, report=True
    )
    assert result.attempted >= 6
    assert not result.failed


def test_rows_hold_the_published_columns_and_labels(project: Project) -> None:
    rows = project.rows("2020-01-05", "2020-01-07")
    assert list(rows.columns) == ["event_time", "hour", "wind", "level"]
    assert len(rows) == 48
    assert rows["level"].notna().all()
    pd.testing.assert_frame_equal(project.labels("2020-01-05", "2020-01-07"), rows[["event_time", "level"]])


def test_windows_say_how_many_rows_and_labels_are_published(project: Project) -> None:
    windows = project.windows()
    assert len(windows) == 26
    assert set(windows["state"]) == {"labelled"}
    assert set(windows["rows"]) == {24} == set(windows["labels"])


def test_predictions_are_joined_with_the_labels_of_their_events(project: Project) -> None:
    table = project.predictions("2020-01-22", "2020-01-23").to_frame()
    rows = project.rows("2020-01-22", "2020-01-23")
    assert len(table) == 24
    np.testing.assert_array_equal(table["label"], rows["level"])
    assert project.predictions("2020-01-27").to_frame()["label"].isna().all()


def test_features_are_those_that_the_service_logged(project: Project) -> None:
    features = project.features("2020-01-22", "2020-01-23")
    rows = project.rows("2020-01-22", "2020-01-23")
    np.testing.assert_array_equal(features["hour"], rows["hour"])
    np.testing.assert_allclose(features["wind"], rows["wind"])


@pytest.mark.slow
def test_champion_reproduces_its_logged_predictions(project: Project) -> None:
    version = project.champion
    assert version is not None and version.number == 1
    inputs = version.inputs("2020-01-22", "2020-01-23")
    logged = project.predictions("2020-01-22", "2020-01-23").to_frame()
    np.testing.assert_allclose(version.predict(inputs)["prediction"], logged["prediction"], rtol=1e-12)
    assert list(version.features()["name"]) == version.definitions.names


@pytest.mark.slow
def test_an_input_that_does_not_fit_the_model_is_named(project: Project) -> None:
    version = project.champion
    assert version is not None
    inputs = version.inputs("2020-01-22", "2020-01-23")
    with pytest.raises(InputError, match="wind"):
        version.predict(inputs.drop(columns="wind"))


def test_reports_have_a_row_per_window_and_a_chart(project: Project) -> None:
    performance = project.reports("performance")
    frame = performance.to_frame()
    assert list(frame["window"]) == list(pd.date_range("2020-01-21", periods=6, freq="D", tz="UTC"))
    assert (frame["served"] > frame["baseline"]).all()
    assert performance.plot().png.startswith(PNG)
    assert project.reports("drift").plot()._repr_png_().startswith(PNG)
    assert (project.reports("health").to_frame()["availability"] == 1).all()
    with pytest.raises(ValueError, match="drift, performance"):
        project.reports("health").plot()


def test_a_chart_can_be_saved(project: Project, tmp_path: Path) -> None:
    path = project.predictions().plot(days=2).save(tmp_path / "predictions.png")
    assert path.read_bytes().startswith(PNG)


def test_decisions_have_evidence_and_guards(project: Project) -> None:
    decisions = project.decisions()
    frame = decisions.to_frame()
    assert list(frame["outcome"]) == ["WAIT"] * 5 + ["RETRAIN"]
    assert frame["held_by"].iloc[-2] == ["warm_up"]
    evidence = decisions.evidence()
    assert (evidence["value"] > evidence["threshold"]).all()
    assert set(decisions.guards()["name"]) >= {"cooldown", "warm_up", "budget"}
    assert len(decisions) == 6 and decisions[-1].outcome == "RETRAIN"


def test_versions_verdicts_and_deployment_periods_are_frames(project: Project) -> None:
    assert list(project.versions()["version"]) == [1]
    assert list(project.verdicts().to_frame()["verdict"]) == ["PROMOTE"]
    periods = project.deployment_periods()
    assert list(periods["version"]) == [1]
    assert periods["end"].isna().all()


def test_unknown_project_version_or_state_is_named(project: Project, project_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="bike_demand"):
        open_project("unknown")
    with pytest.raises(SpecError, match="there is no such file"):
        open_project(tmp_path)
    with pytest.raises(NotReady, match="it holds no ledger"):
        open_project(project_folder, home=tmp_path)
    with pytest.raises(NotReady, match=r"the trained versions are \[1\]"):
        project.version(7)
