"""Writes docs/settings.md from the settings model: every environment variable, its type, default and meaning.

python -m mlops_assets.resources.settings_reference > docs/settings.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic.fields import FieldInfo

from mlops_assets.resources.settings import ROOT, Settings

TYPES = {
    "home": "folder",
    "client_token_file": "file",
    "host": "text",
    "influx_token": "secret",
    "influx_token_file": "file",
    "influx_retention": "length of time",
}
"""What people give; every other setting is an address or a name."""
OTHERS = {
    "PGPASSWORD, PGPASSFILE": "libpq's: the password of `MLOPS_ASSETS_DATABASE_URL`",
    "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD": "MLflow's: credentials of `MLOPS_ASSETS_MLFLOW_URL`",
    "GOOGLE_APPLICATION_CREDENTIALS": "Google's: only where there is no Workload Identity",
    "STORAGE_EMULATOR_HOST": "an emulator in place of Google Cloud Storage, for tests: asked without credentials",
    "DAGSTER_HOME": "Dagster's: the folder of its `dagster.yaml`",
    "MLOPS_ASSETS_CLIENT_TOKEN": "of the scoring service alone: the clients' token itself, instead of a file",
}
"""What other libraries read."""


def reference() -> str:
    """The whole of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from `resources/settings.py`; do not edit by hand.",
        "",
        "Which part stands where is said by environment variables; without any of them everything is embedded in one",
        "folder, and nothing need be started. Assets, sensors and policies do not know which part is there.",
        "[servers.md](servers.md) says what each server needs.",
        "",
        "| variable | is | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        variable = f"`{Settings.model_config['env_prefix']}{name.upper()}`"
        lines.append(f"| {variable} | {TYPES.get(name, 'text')} | {_default(field)} | {_meaning(field)} |")
    lines += ["", "## What other libraries read", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| {', '.join(f'`{n}`' for n in names.split(', '))} | {text} |" for names, text in OTHERS.items()]
    return "\n".join([*lines, ""])


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None:
        return "-"
    if isinstance(value, Path):
        return f"`{value.relative_to(ROOT)}`" if value.is_relative_to(ROOT) else f"`{value}`"
    return f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
