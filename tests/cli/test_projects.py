"""The projects of a repository, as the commands find them."""

from __future__ import annotations

from pathlib import Path

import pytest
from example_project import ATTRIBUTES, example_project
from repositories import make_repository, project_yaml

from mlops_assets.cli.projects import served_specs, specs
from mlops_assets.errors import NotReady, SpecError
from mlops_assets.resources.repository import Repository, find_root
from mlops_assets.resources.scoring.config import CONFIG, ServiceConfig, endpoint_folder
from mlops_assets.resources.settings import Settings

PROJECT = project_yaml(ATTRIBUTES)
ROOT = Path(__file__).parents[2]


def settings_of(root: Path) -> Settings:
    return Settings(root=root, home=root / "state")


@pytest.mark.parametrize(
    "text", ["type: [", "type: mlops_assets.MLProject", "type: mlops_assets.MLProject\nattributes: soon"]
)
def test_invalid_yaml_is_named_by_its_file(tmp_path: Path, text: str) -> None:
    root = make_repository(tmp_path / "repository", sound=PROJECT, torn=text)
    with pytest.raises(SpecError, match=r"\[torn\] .*/torn/defs.yaml"):
        specs(settings_of(root))


def test_empty_documents_and_other_components_are_ignored(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repository", both=f"---\n---\ntype: other.Component\n---\n{PROJECT}")
    assert list(specs(settings_of(root))) == ["example"]


def test_two_projects_of_one_name_are_both_named(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repository", one=PROJECT, two=PROJECT)
    with pytest.raises(SpecError, match=r"/two/defs.yaml: .*/one/defs.yaml declares a project of the same name"):
        specs(settings_of(root))


def test_started_services_are_found_by_their_configuration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, text in {
        "example": ServiceConfig(spec=example_project(), state=tmp_path / "projects").model_dump_json(),
        "torn": "",
    }.items():
        folder = endpoint_folder(tmp_path / "projects", name)
        folder.mkdir(parents=True)
        (folder / CONFIG).write_text(text)
    assert list(served_specs(tmp_path)) == ["example"]
    assert "torn" in caplog.text


def test_root_is_the_nearest_folder_with_dg_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = make_repository(tmp_path / "outer")
    inner = outer / "package"
    inner.mkdir()
    # a package of a monorepo without dg's configuration is no repository of projects
    (inner / "pyproject.toml").write_text('[project]\nname = "package"\n')
    monkeypatch.chdir(inner)
    assert find_root() == outer
    (inner / "dg.toml").write_text('[project]\nroot_module = "package"\n')
    assert find_root() == inner
    assert Repository.at(inner).projects == inner / "package" / "defs"


def test_root_can_be_set_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_ASSETS_ROOT", str(make_repository(tmp_path / "repository")))
    assert find_root() == tmp_path / "repository"
    assert Settings().home == tmp_path / "repository" / ".mlops"


def test_outside_a_repository_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotReady, match="mlops-assets init DIR"):
        Settings()
    assert Settings(home=tmp_path).home == tmp_path


def test_shipped_projects_are_found_in_this_repository() -> None:
    assert set(Repository.at(ROOT).specs()) == {"bike_demand", "electricity"}
