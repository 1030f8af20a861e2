"""Files that make Grafana know the data source and find the dashboards; written with the dashboards themselves."""

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
"""Environment variable of Grafana that names the folder of the dashboards' files."""


def data_sources(org: str, bucket: str) -> dict[str, Any]:
    """InfluxDB as a data source; Grafana takes address and token from its own environment.

    Args:
        org: InfluxDB's organisation.
        bucket: its bucket; queries name it as the default one.
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
    """Where Grafana finds the dashboards' files."""
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
    """Write dashboards and provisioning.

    Args:
        folder: gets `dashboards/` and `provisioning/`; files of the same names are replaced.
        specs: the projects.
        org: InfluxDB's organisation.
        bucket: its bucket.

    Returns:
        What was written.

    Raises:
        Refused: when a project is named as the overview is.
    """
    if any(spec.name == OVERVIEW for spec in specs):
        raise Refused(OVERVIEW, "dashboards", "this name is the overview's", "name the project otherwise")
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
