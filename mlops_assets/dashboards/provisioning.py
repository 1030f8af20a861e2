"""Grafana's provisioning files for the data source and the dashboards, written with the dashboards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mlops_assets.dashboards.overview import overview_dashboard
from mlops_assets.dashboards.panels import DATA_SOURCE
from mlops_assets.dashboards.project import project_dashboard
from mlops_assets.errors import Refused
from mlops_assets.spec import ProjectSpec

OVERVIEW = "overview"
FOLDER = "MLOPS_ASSETS_DASHBOARDS"
"""Environment variable of Grafana with the folder of the dashboards' files."""


def data_sources(org: str, bucket: str) -> dict[str, Any]:
    """Return the data source InfluxDB. Grafana reads address and token from its own environment.

    Args:
        org: InfluxDB's organisation.
        bucket: InfluxDB's bucket, the default bucket of queries.
    """
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "mlops-assets",
                "uid": DATA_SOURCE,
                "type": "influxdb",
                "access": "proxy",
                "url": "${MLOPS_ASSETS_INFLUX_URL}",
                "isDefault": True,
                "editable": False,
                "jsonData": {"version": "Flux", "organization": org, "defaultBucket": bucket},
                "secureJsonData": {"token": "${MLOPS_ASSETS_INFLUX_TOKEN}"},
            }
        ],
    }


def providers() -> dict[str, Any]:
    """Return the provider that loads the dashboards' files."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "mlops-assets",
                "type": "file",
                "folder": "mlops-assets",
                "disableDeletion": False,
                "allowUiUpdates": False,
                "updateIntervalSeconds": 30,
                "options": {"path": f"${{{FOLDER}}}"},
            }
        ],
    }


def write(folder: Path, specs: Sequence[ProjectSpec], org: str, bucket: str) -> list[Path]:
    """Write dashboards and provisioning files.

    Args:
        folder: the folder of `dashboards/` and `provisioning/`; files of the same names are replaced.
        specs: the projects.
        org: InfluxDB's organisation.
        bucket: InfluxDB's bucket.

    Returns:
        The paths of the written files.

    Raises:
        Refused: a project has the name of the overview.
    """
    if any(spec.name == OVERVIEW for spec in specs):
        raise Refused(OVERVIEW, "dashboards", "the overview dashboard has this name", "give the project another name")
    files: dict[str, str] = {
        f"dashboards/{spec.name}.json": json.dumps(project_dashboard(spec), indent=2) for spec in specs
    }
    files[f"dashboards/{OVERVIEW}.json"] = json.dumps(overview_dashboard(specs), indent=2)
    files["provisioning/datasources/mlops-assets.yaml"] = yaml.safe_dump(data_sources(org, bucket), sort_keys=False)
    files["provisioning/dashboards/mlops-assets.yaml"] = yaml.safe_dump(providers(), sort_keys=False)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.rstrip() + "\n")
    return [folder / name for name in files]
