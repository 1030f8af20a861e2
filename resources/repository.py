"""A team's repository: the folder with dg's configuration, and where its projects are."""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_assets.errors import NotReady
from mlops_assets.spec import ProjectSpec
from mlops_assets.spec.loading import collect_specs

DEFAULT_TARGET = "definitions"


@dataclass(frozen=True)
class Repository:
    """A repository as its dg configuration describes it.

    Attributes:
        root: its folder, absolute.
        code_location: name of its code location in Dagster.
        target_module: module of its definitions.
        defs_module: package that holds the projects.
    """

    root: Path
    code_location: str
    target_module: str
    defs_module: str

    @classmethod
    def at(cls, root: Path) -> Repository:
        """Return the repository of a folder that `find_root` returned.

        Raises:
            NotReady: when its configuration names neither `defs_module` nor `root_module`.
        """
        project = (_configuration(root) or {}).get("project", {})
        defs_module = project.get("defs_module") or (
            f"{project['root_module']}.defs" if "root_module" in project else ""
        )
        if not defs_module:
            raise NotReady(
                "-",
                str(root),
                "dg's configuration names no package of projects",
                "set `defs_module` in `[project]` of dg.toml, or in `[tool.dg.project]` of pyproject.toml",
            )
        return cls(
            root=root,
            code_location=project.get("code_location_name") or root.name,
            target_module=project.get("code_location_target_module") or DEFAULT_TARGET,
            defs_module=defs_module,
        )

    @property
    def projects(self) -> Path:
        """The folder of `defs_module`, in which each project has a folder."""
        return self.root.joinpath(*self.defs_module.split("."))

    @property
    def workspace(self) -> Path:
        """The workspace file that Dagster's processes load."""
        return self.root / "workspace.yaml"

    def specs(self) -> dict[str, ProjectSpec]:
        """Return all projects by name.

        Raises:
            SpecError: when one is not valid, or two have the same name; `dg check yaml` shows the line.
        """
        return collect_specs(sorted(self.projects.rglob("defs.yaml")))


def find_root(given: Path | None = None, *, start: Path | None = None) -> Path:
    """Return the root of the repository that holds the projects, as an absolute path.

    It is the given folder; else the one that MLOPS_ASSETS_ROOT names; else the nearest folder at or above `start`.

    Args:
        given: the root, if it is known.
        start: the folder from which the root is searched; by default the working directory.

    Raises:
        NotReady: when no folder has a `dg.toml`, or a `pyproject.toml` with `[tool.dg]`.
    """
    here = Path.cwd() if start is None else start.absolute()
    named = os.environ.get("MLOPS_ASSETS_ROOT")
    given = given or (Path(named) if named else None)
    for folder in [here, *here.parents] if given is None else [given.absolute()]:
        if _configuration(folder) is not None:
            return folder
    raise NotReady(
        "-",
        str(given or here),
        "neither dg.toml nor a pyproject.toml with [tool.dg] is " + ("here" if given else "here or in a folder above"),
        "run the command in a repository of projects, set MLOPS_ASSETS_ROOT to one, "
        "or make one with `mlops-assets init DIR`",
    )


def make_importable(root: Path) -> None:
    """Let this process import the repository's package, as an installation of it would."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def _configuration(folder: Path) -> dict[str, Any] | None:
    if (folder / "dg.toml").is_file():
        return tomllib.loads((folder / "dg.toml").read_text())
    if (folder / "pyproject.toml").is_file():
        found: dict[str, Any] | None = tomllib.loads((folder / "pyproject.toml").read_text()).get("tool", {}).get("dg")
        return found
    return None
