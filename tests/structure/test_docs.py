"""Links, modules, commands and settings that the documentation names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from source_code import ROOT
from typer.main import get_command

from mlops_assets.blueprint import Blueprint
from mlops_assets.cli.app import app
from mlops_assets.jobs import project_jobs
from mlops_assets.resources.settings import Settings
from mlops_assets.resources.settings_reference import reference
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.scaffold import example_yaml

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#]+)?(#[^)]+)?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in HEADING.findall(page.read_text()))
    return {"#" + heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text())
    for target, anchor in links:
        aim = page if not target else (page.parent / target)
        assert aim.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(aim), f"{target}{anchor} is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_named_by_a_page_exist(page: Path) -> None:
    named = set(
        re.findall(
            r"`((?:mlops_assets|resources|sensors|tests|retraining|deployment|prediction)/[\w/]+\.(?:py|txt))`",
            page.read_text(),
        )
    )
    missing = [name for name in named if not (ROOT / name).exists() and not (ROOT / "mlops_assets" / name).exists()]
    assert not missing


def test_commands_named_by_pages_exist_and_the_readme_names_all() -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = {name for page in PAGES for name in re.findall(r"mlops-assets ([a-z][a-z-]*)", page.read_text())}
    assert named and named <= known
    assert known <= set(re.findall(r"mlops-assets ([a-z][a-z-]*)", (ROOT / "README.md").read_text()))


def test_every_job_is_in_the_architecture_page() -> None:
    spec = ProjectSpec.model_validate(yaml.safe_load(example_yaml("small"))["attributes"])
    jobs = {job.name.removeprefix("small_") for job in project_jobs(Blueprint(spec))}
    table = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE))
    assert jobs <= table


def test_committed_settings_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == reference(), "run `make docs`"


def test_every_setting_has_a_description() -> None:
    assert not [name for name, field in Settings.model_fields.items() if not field.description]


def test_address_with_a_password_is_refused() -> None:
    with pytest.raises(ValidationError, match="PGPASSWORD"):
        Settings(database_url="postgresql://mlops:secret@localhost/mlops")


def test_influxdb_without_a_token_is_refused() -> None:
    with pytest.raises(ValidationError, match="MLOPS_ASSETS_INFLUX_TOKEN"):
        Settings(influx_url="http://localhost:8086")
