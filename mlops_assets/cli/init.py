"""`init`: writes a team's own repository, with an example project that runs at once."""

from __future__ import annotations

import re
from importlib import metadata, resources
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd

from mlops_assets.errors import Refused

FILES = {
    "pyproject.toml.tmpl": "pyproject.toml",
    "definitions.py.tmpl": "definitions.py",
    "workspace.yaml.tmpl": "workspace.yaml",
    "Makefile.tmpl": "Makefile",
    "README.md.tmpl": "README.md",
    "gitignore.tmpl": ".gitignore",
    "gitlab-ci.yml.tmpl": ".gitlab-ci.yml",
    "test_projects.py.tmpl": "tests/test_projects.py",
    "defs.yaml.tmpl": "{package}/projects/{project}/defs.yaml",
    "source.py.tmpl": "{package}/projects/{project}/source.py",
}
"""Where each template is written to."""
CONNECTED = pd.Timestamp("2024-04-08")
"""When the example's new block of houses is connected: the first model becomes worse."""


def init_repository(folder: Path, project: str) -> list[Path]:
    """Write a repository of projects; return its files.

    Args:
        folder: does not exist yet, or is empty. Its name becomes the name of the package.
        project: name of the example project. Repositories that share a state folder need different ones.

    Raises:
        Refused: when the folder is not empty, or its name gives no name of a Python package.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused("-", str(folder), "it exists and is not empty", "name a new or an empty folder")
    package = re.sub(r"\W+", "_", folder.name.lower()).strip("_")
    if not package.isidentifier():
        raise Refused(
            "-",
            str(folder),
            f"{folder.name!r} gives no name of a Python package",
            "begin the folder's name with a letter",
        )
    if package == "mlops_assets":
        raise Refused("-", str(folder), "this is the name of the platform's own package", "choose another name")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", project):
        raise Refused("-", project, "it is not a valid project name", "use lower-case letters, digits and underscores")
    names = {
        "package": package,
        "project": project,
        "name": package.replace("_", "-"),
        "version": metadata.version("mlops-assets"),
    }
    templates = resources.files("mlops_assets") / "templates" / "repository"
    for template, target in FILES.items():
        text = Template((templates / template).read_text()).substitute(names)
        _write(folder / target.format(package=package, project=project), text)
    shipped = resources.files("mlops_assets.dagster_config") / "embedded.yaml"
    _write(folder / "dagster.yaml", shipped.read_text())
    _write(folder / package / "__init__.py", '"""The ML projects of this team."""\n')
    _write(folder / package / "projects" / "__init__.py", '"""A folder per project."""\n')
    example = folder / package / "projects" / project
    _write(example / "__init__.py", '"""Heat demand of a district, one day ahead."""\n')
    _write(example / "heat_demand.csv", heat_demand().to_csv(index=False))
    return sorted(path for path in folder.rglob("*") if path.is_file())


def heat_demand() -> pd.DataFrame:
    """Return the example's made-up series: hours from January to August 2024, always the same.

    Returns:
        `timestamp` (UTC), `temperature` in degrees Celsius, and `demand` in MW: a base of hot water with a daily and
        weekly course, and heating below 16 degrees. From `CONNECTED` on a new block of houses adds to it.
    """
    random = np.random.default_rng(7)
    times = pd.date_range("2024-01-01", "2024-09-02", freq="h", inclusive="left", tz="UTC")
    day = np.asarray(times.dayofyear + times.hour / 24, dtype=np.float64)
    hour = np.asarray(times.hour, dtype=np.float64)
    weather = np.zeros(len(times))
    for i in range(1, len(times)):
        # changes of the weather last about two days
        weather[i] = 0.98 * weather[i - 1] + random.normal(0, 0.6)
    temperature = 9 - 10 * np.cos((day - 15) / 366 * 2 * np.pi) - 3 * np.cos((hour - 3) / 24 * 2 * np.pi) + weather
    water = 8 + 3 * np.exp(-(((hour - 7) / 2) ** 2)) + 2 * np.exp(-(((hour - 19) / 3) ** 2))
    water = water * np.where(np.asarray(times.weekday) >= 5, 1.15, 1.0)
    demand = water + 1.2 * np.clip(16 - temperature, 0, None)
    demand = np.where(times >= CONNECTED.tz_localize("UTC"), 1.5 * demand + 4, demand)
    demand = demand + random.normal(0, 0.7, len(times))
    return pd.DataFrame(
        {"timestamp": times, "temperature": temperature.round(1), "demand": demand.clip(min=0.0).round(2)}
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
