"""A state folder that release 0.1.0 wrote, opened by `open_project`."""

from __future__ import annotations

import runpy
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from mlops_assets import open_project
from mlops_assets.project import Project
from mlops_assets.resources.compute.h2o import h2o_jar

TESTS = Path(__file__).parent.parent
STATE = TESTS / "fixtures" / "state_0.1.0.tar.xz"
ATTRIBUTES = runpy.run_path(str(TESTS / "compatibility" / "tide.py"))["ATTRIBUTES"]
"""The simulated project whose state it is."""


@pytest.fixture(scope="session")
def project_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "tide"
    folder.mkdir()
    (folder / "defs.yaml").write_text(
        yaml.safe_dump({"type": "mlops_assets.MLProject", "attributes": ATTRIBUTES}, sort_keys=False)
    )
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    with tarfile.open(STATE) as archive:
        archive.extractall(folder, filter="data")
    # the archive holds no jars: H2O's scoring library is part of h2o.jar
    with zipfile.ZipFile(h2o_jar()) as jar:
        library = jar.read("www/3/h2o-genmodel.jar")
    (folder / "projects" / "tide" / "versions" / "1" / "genmodel.jar").write_bytes(library)
    return folder


@pytest.fixture
def project(project_folder: Path, home: Path) -> Project:
    return open_project(project_folder, home=home)
