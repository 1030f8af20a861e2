"""The code version of an asset follows the code that computes it, and nothing else."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from example_project import example_project

from mlops_assets import code_version
from mlops_assets.code_version import NOT_COMPUTING, SourceReader
from mlops_assets.component import definitions_of
from mlops_assets.spec import ProjectSpec

FILES = {
    "__init__.py": "",
    "assets.py": """
from __future__ import annotations
from typing import TYPE_CHECKING
from sample_package import metadata
from sample_package.phase.mean import mean
from .phase import total as totals
if TYPE_CHECKING:
    from sample_package.types import Row

LIMIT = 3

def assets(spec):
    def average(context: Row) -> float:
        from sample_package.late import inside
        return metadata.shown(mean(inside(context)))

    def total(context: Row) -> float:
        return checked(totals.total(context))

    return [average, total]

def checked(value):
    return min(value, LIMIT)
""",
    "types.py": "class Row: ...",
    "metadata.py": "def shown(value): return value",
    "late.py": "def inside(values): return values",
    "phase/__init__.py": "",
    "phase/mean.py": """
import numpy as np
from sample_package.phase.weights import weight
def mean(values): return weight
""",
    "phase/weights.py": "def weight(value): return value",
    "phase/total.py": "import orjson\ndef total(values): return sum(values)",
}


@dataclass
class Package:
    folder: Path

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def append(self, name: str, text: str) -> None:
        self.write(name, (self.folder / name).read_text() + text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def versions(self) -> tuple[str, str]:
        reader = SourceReader()
        average, total = (reader.version("sample_package.assets", name) for name in ("average", "total"))
        return average, total


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    made = Package(tmp_path / "sample_package")
    for name, text in FILES.items():
        made.write(name, text)
    monkeypatch.syspath_prepend(tmp_path)
    yield made


def changed(package: Package, before: tuple[str, str]) -> tuple[bool, bool]:
    """Return whether `average` and whether `total` has another version than before."""
    after = package.versions()
    return after[0] != before[0], after[1] != before[1]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("phase/mean.py", (True, False)),
        ("phase/weights.py", (True, False)),
        ("late.py", (True, False)),
        ("phase/total.py", (False, True)),
        ("types.py", (False, False)),
    ],
)
def test_an_edited_module_changes_the_assets_that_use_it(
    package: Package, file: str, expected: tuple[bool, bool]
) -> None:
    before = package.versions()
    package.append(file, "\nMORE = 1\n")
    assert changed(package, before) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("metadata.shown(mean(", "metadata.shown(2 * mean(", (True, False)),
        ("min(value, LIMIT)", "max(value, LIMIT)", (False, True)),
        ("LIMIT = 3", "LIMIT = 4", (False, True)),
    ],
)
def test_an_edited_definition_changes_the_assets_that_use_it(
    package: Package, old: str, new: str, expected: tuple[bool, bool]
) -> None:
    before = package.versions()
    package.replace("assets.py", old, new)
    assert changed(package, before) == expected


def test_excluded_modules_do_not_change_an_asset(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_version, "NOT_COMPUTING", ("sample_package.metadata",))
    before = package.versions()
    package.append("metadata.py", "\nMORE = 1\n")
    assert changed(package, before) == (False, False)


def test_another_library_version_changes_the_assets_that_use_it(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = package.versions()
    installed = code_version._installed_version
    monkeypatch.setattr(
        code_version, "_installed_version", lambda root: "0.0.1" if root == "numpy" else installed(root)
    )
    assert changed(package, before) == (True, False)


def test_libraries_are_found_by_the_name_of_their_package() -> None:
    """`grpc` is brought by a distribution of another name, which `DISTRIBUTIONS` does not list."""
    reader = SourceReader()
    for package, distribution in {**code_version.DISTRIBUTIONS, "grpc": "grpcio"}.items():
        assert reader._version(package) == importlib.metadata.version(distribution)


def test_module_named_in_addition_to_the_function_counts(package: Package) -> None:
    reader = SourceReader()
    alone = reader.version("sample_package.assets", "total")
    assert reader.version("sample_package.assets", "total", ["sample_package.late"]) != alone


def versions(spec: ProjectSpec) -> dict[str, str]:
    """Return the code versions that Dagster gets, by the asset's name."""
    definitions = [each for each in definitions_of(spec).assets or [] if isinstance(each, dg.AssetsDefinition)]
    found = [spec for each in definitions for spec in each.specs if spec.code_version is not None]
    return {spec.key.path[-1]: str(spec.code_version) for spec in found}


def test_the_source_function_counts_for_the_assets_that_call_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "another_source.py").write_text("def read(start, end): ...")
    monkeypatch.syspath_prepend(tmp_path)
    spec = example_project()
    before, after = versions(spec), versions(example_project(data={"source": "another_source.read"}))
    assert {name for name in before if before[name] != after[name]} == {"raw_data", "labels", "history"}
    assert len(before) == 17
    assert len(set(before.values())) == len(before), "each asset's own function counts"


@pytest.mark.parametrize(
    ("phase", "asset", "inside", "outside"),
    [
        ("acquisition", "raw_data", "source.schema", "modeling.automl"),
        ("modeling", "feature_definitions", "modeling.selection", "monitoring.drift"),
        ("monitoring", "drift", "monitoring.drift", "modeling.training"),
    ],
)
def test_platform_assets_depend_on_their_phase_and_not_on_the_platform(
    phase: str, asset: str, inside: str, outside: str
) -> None:
    parts = set(SourceReader().find(f"mlops_assets.{phase}.assets", asset).parts)
    assert f"mlops_assets.{inside}" in parts and f"mlops_assets.{outside}" not in parts
    assert not [name for name in parts for left_out in NOT_COMPUTING if name == left_out]
    assert not [name for name in parts if name.startswith("mlops_assets.resources")]


def test_excluded_modules_exist() -> None:
    reader = SourceReader()
    ours = [name for name in NOT_COMPUTING if name != "dagster" and name != "mlops_assets.resources"]
    assert not [name for name in ours if reader._module(name) is None]


def test_no_library_is_imported_to_find_versions() -> None:
    code = (
        "import sys; from mlops_assets.code_version import SourceReader\n"
        "SourceReader().version('mlops_assets.modeling.assets', 'evaluation')\n"
        "print([name for name in ('dagster', 'mlflow', 'h2o', 'pandas', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stdout
