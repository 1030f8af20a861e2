"""Dagster's instance on the configured state folder, the same that `dagster dev` uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import yaml

from resources.settings import ROOT, Settings


def dagster_home(settings: Settings) -> Path:
    """The folder whose dagster.yaml counts: the project's own, or for another state folder a copy that points there."""
    if settings.home.absolute() == ROOT / ".mlops":
        return ROOT
    home = settings.home.absolute() / "dagster_home"
    home.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    for part in (
        config["storage"]["sqlite"],
        config["local_artifact_storage"]["config"],
        config["compute_logs"]["config"],
    ):
        part["base_dir"] = str(settings.home.absolute() / Path(part["base_dir"]).relative_to(".mlops"))
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    return home


@contextmanager
def instance_of(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open the instance; relative folders of dagster.yaml count from the project's root."""
    os.chdir(ROOT)
    with dg.DagsterInstance.from_config(str(dagster_home(settings))) as instance:
        yield instance
