"""The Helm chart agrees with the rest of the repository; `make test-cluster` tests that it works."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from mlops_assets.resources.settings import Settings

ROOT = Path(__file__).parents[2]
CONFIG = (ROOT / "helm" / "mlops-assets" / "templates" / "config.yaml").read_text()


def test_dagster_yaml_differs_in_launcher_folders_and_limits_only() -> None:
    text = CONFIG.partition("dagster.yaml: |\n")[2].partition("\n---\n")[0]
    # values that Helm fills in are not compared
    plain = re.sub(r"\{\{.*?\}\}", "1", text)
    chart = yaml.safe_load(plain)
    shipped = yaml.safe_load((ROOT / "mlops_assets" / "dagster_config" / "postgresql.yaml").read_text())
    for config in (chart, shipped):
        del config["concurrency"]["runs"]["max_concurrent_runs"]
        del config["run_monitoring"]["start_timeout_seconds"]  # a pod takes longer to start than a process
        config["local_artifact_storage"].pop("config")
        config["compute_logs"].pop("config")
    assert chart.pop("run_launcher")["class"] == "K8sRunLauncher"
    assert shipped.pop("run_launcher")["class"] == "ProcessRunLauncher"
    assert chart == shipped


def test_only_existing_settings_are_set() -> None:
    names = set(re.findall(r"\bMLOPS_ASSETS_([A-Z_]+):", CONFIG))
    assert names
    assert {name.lower() for name in names} <= set(Settings.model_fields)
