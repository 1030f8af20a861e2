"""Repositories of projects for tests: a folder with dg's configuration and some projects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def make_repository(root: Path, **projects: str) -> Path:
    """Write a repository whose package `team` holds projects; a keyword is a folder and the text of its defs.yaml."""
    (root / "team").mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n\n[tool.dg.project]\nroot_module = "team"\ndefs_module = "team"\n'
    )
    for name, text in projects.items():
        (root / "team" / name).mkdir()
        (root / "team" / name / "defs.yaml").write_text(text)
    return root


def project_yaml(attributes: dict[str, Any]) -> str:
    """Return the text of a defs.yaml."""
    return yaml.safe_dump({"type": "mlops_assets.MLProject", "attributes": attributes})
