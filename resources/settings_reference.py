"""Writes docs/settings.md from the settings model: every environment variable, its type, default and meaning.

python -m mlops_assets.resources.settings_reference > docs/settings.md
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from mlops_assets.resources.settings import Settings

TYPES: dict[object, str] = {
    Path: "path",
    str: "text",
    SecretStr: "secret",
    timedelta: "duration (ISO 8601)",
}
"""How a type of a setting is called for people."""
OTHERS = {
    "PGPASSWORD, PGPASSFILE": "libpq: the password of `MLOPS_ASSETS_DATABASE_URL`",
    "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD": "MLflow: credentials of `MLOPS_ASSETS_MLFLOW_URL`",
    "GOOGLE_APPLICATION_CREDENTIALS": "Google's clients: a key file, where there is no Workload Identity",
    "STORAGE_EMULATOR_HOST": "an emulator of Google Cloud Storage for tests, used without credentials",
    "DAGSTER_HOME": "Dagster: the folder of its `dagster.yaml`",
    "MLOPS_ASSETS_CLIENT_TOKEN": "the scoring service: the clients' token itself, instead of a file",
}
"""Variables that other libraries read."""


def reference() -> str:
    """Return the whole of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Written by `make docs` from `resources/settings.py`; do not edit by hand.",
        "",
        "Environment variables say where each part is. Without any of them everything is embedded in one folder, and",
        "no server is required. Assets, sensors and policies are the same in both cases.",
        "[servers.md](servers.md) describes what each server needs.",
        "",
        "| variable | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        variable = f"`{Settings.model_config['env_prefix']}{name.upper()}`"
        lines.append(f"| {variable} | {_type(field.annotation)} | {_default(field)} | {_meaning(field)} |")
    lines += ["", "## Variables of other libraries", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| {', '.join(f'`{n}`' for n in names.split(', '))} | {text} |" for names, text in OTHERS.items()]
    return "\n".join([*lines, ""])


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _type(annotation: object) -> str:
    """Return the type of a setting in words; that it may be absent shows in its default."""
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if annotation in TYPES:
        return TYPES[annotation]
    (inner,) = (part for part in get_args(annotation) if part is not type(None))
    return _type(inner)


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "`.mlops` in the repository"
    return "-" if field.default is None else f"`{field.default}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
