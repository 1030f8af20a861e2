"""The projects as the command line finds them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tide import ATTRIBUTES, tide

from mlops_assets.cli import desks
from mlops_assets.errors import SpecError
from resources.service_config import CONFIG, ServiceConfig, endpoint_folder

PROJECT = yaml.safe_dump({"type": "mlops_assets.MLProject", "attributes": ATTRIBUTES})


@pytest.fixture
def projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(desks, "PROJECTS", tmp_path)
    return tmp_path


def put(projects: Path, folder: str, text: str) -> None:
    (projects / folder).mkdir()
    (projects / folder / "defs.yaml").write_text(text)


@pytest.mark.parametrize(
    "text", ["type: [", "type: mlops_assets.MLProject", "type: mlops_assets.MLProject\nattributes: soon"]
)
def test_a_yaml_that_declares_no_project_is_named_by_its_file(projects: Path, text: str) -> None:
    put(projects, "sound", PROJECT)
    put(projects, "torn", text)
    with pytest.raises(SpecError, match=r"\[torn\] .*/torn/defs.yaml"):
        desks.specs()


def test_an_empty_document_and_another_component_are_no_projects(projects: Path) -> None:
    put(projects, "both", f"---\n---\ntype: other.Component\n---\n{PROJECT}")
    assert list(desks.specs()) == ["tide"]


def test_two_projects_of_one_name_are_both_named(projects: Path) -> None:
    put(projects, "one", PROJECT)
    put(projects, "two", PROJECT)
    with pytest.raises(SpecError, match=r"/two/defs.yaml: .*/one/defs.yaml declares a project of that name too"):
        desks.specs()


def test_services_are_known_by_what_they_were_started_with(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, text in {
        "tide": ServiceConfig(spec=tide(), state=tmp_path / "projects").model_dump_json(),
        "torn": "",
    }.items():
        folder = endpoint_folder(tmp_path / "projects", name)
        folder.mkdir(parents=True)
        (folder / CONFIG).write_text(text)
    assert list(desks.served(tmp_path)) == ["tide"]
    assert "torn" in caplog.text
