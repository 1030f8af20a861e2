"""The projects as the command line finds them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from example_project import ATTRIBUTES, example_project

from mlops_assets.cli import projects
from mlops_assets.errors import SpecError
from mlops_assets.resources.scoring.config import CONFIG, ServiceConfig, endpoint_folder

PROJECT = yaml.safe_dump({"type": "mlops_assets.MLProject", "attributes": ATTRIBUTES})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(projects, "PROJECTS", tmp_path)
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    (root / name).mkdir()
    (root / name / "defs.yaml").write_text(text)


@pytest.mark.parametrize(
    "text", ["type: [", "type: mlops_assets.MLProject", "type: mlops_assets.MLProject\nattributes: soon"]
)
def test_a_yaml_that_declares_no_project_is_named_by_its_file(folder: Path, text: str) -> None:
    put(folder, "sound", PROJECT)
    put(folder, "torn", text)
    with pytest.raises(SpecError, match=r"\[torn\] .*/torn/defs.yaml"):
        projects.specs()


def test_an_empty_document_and_another_component_are_no_projects(folder: Path) -> None:
    put(folder, "both", f"---\n---\ntype: other.Component\n---\n{PROJECT}")
    assert list(projects.specs()) == ["tide"]


def test_two_projects_of_one_name_are_both_named(folder: Path) -> None:
    put(folder, "one", PROJECT)
    put(folder, "two", PROJECT)
    with pytest.raises(SpecError, match=r"/two/defs.yaml: .*/one/defs.yaml declares a project of the same name"):
        projects.specs()


def test_services_are_known_by_what_they_were_started_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, text in {
        "tide": ServiceConfig(spec=example_project(), state=tmp_path / "projects").model_dump_json(),
        "torn": "",
    }.items():
        folder = endpoint_folder(tmp_path / "projects", name)
        folder.mkdir(parents=True)
        (folder / CONFIG).write_text(text)
    assert list(projects.served(tmp_path)) == ["tide"]
    assert "torn" in caplog.text
