"""compose.yaml is complete, holds no secrets, and uses settings and commands that exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from click import Group
from source_code import ROOT
from typer.main import get_command

from mlops_assets.cli.app import app
from mlops_assets.dashboards.provisioning import FOLDER
from mlops_assets.resources.settings import Settings

TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = dict(
    line.split("=", 1)
    for line in (ROOT / "deploy" / "example.env").read_text().splitlines()
    if line and not line.startswith("#")
)
SETTINGS = {f"MLOPS_ASSETS_{name}".upper() for name in Settings.model_fields}
OWN = [name for name, service in SERVICES.items() if str(service["image"]).startswith("mlops-assets/")]


def test_all_services_of_a_platform_are_defined() -> None:
    servers = {"postgres", "influxdb", "mlflow", "gcs", "grafana"}
    assert servers | {"webserver", "daemon", "code", "endpoint", "forwarder"} <= set(SERVICES)


def test_only_existing_settings_are_set() -> None:
    named = {key for service in SERVICES.values() for key in service.get("environment", {})}
    ours = {name for name in named if name.startswith("MLOPS_ASSETS_")}
    assert ours and ours <= SETTINGS | {FOLDER}
    for part in ("code", "daemon", "webserver", "endpoint", "forwarder"):
        found = {name for name in SERVICES[part]["environment"] if name.startswith("MLOPS_ASSETS_")}
        assert {"MLOPS_ASSETS_DATABASE_URL", "MLOPS_ASSETS_MLFLOW_URL", "MLOPS_ASSETS_INFLUX_URL"} <= found


def test_settings_of_the_code_location_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES["code"]["environment"].items():
        filled = re.sub(r"\$\{(\w+)(:\?|-)?\}", lambda found: EXAMPLE.get(found[1]) or "something", str(value))
        monkeypatch.setenv(name, filled)
    settings = Settings()
    assert settings.ledger.startswith("postgresql://")
    assert settings.lake.startswith("gs://")
    assert settings.influx_token is not None


def test_every_variable_is_in_the_example_file() -> None:
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    assert used == set(EXAMPLE)
    # what has no sensible value must be given: an empty one stops the start
    given = {name for name, value in EXAMPLE.items() if value}
    assert all(f"${{{name}:?}}" in TEXT for name in used - given)


def test_no_secret_is_in_the_files() -> None:
    secret = re.compile(r"PASSWORD|TOKEN$|SECRET")
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert not secret.search(name) or re.fullmatch(r"\$\{\w+:\?\}", str(value)), name
    assert not [name for name, value in EXAMPLE.items() if secret.search(name) and value]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"deploy/*.env", "!deploy/example.env", "deploy/client-token"} <= set(ignored)


def waits_for(service: dict[str, Any]) -> dict[str, str]:
    """Return the services that one depends on, each with its condition."""
    found = service.get("depends_on", {})
    if isinstance(found, list):
        return dict.fromkeys(found, "service_started")
    return {name: how["condition"] for name, how in found.items()}


@pytest.mark.parametrize("name", SERVICES)
def test_dependencies_and_volumes_of_a_service_exist(name: str) -> None:
    service = SERVICES[name]
    for other, condition in waits_for(service).items():
        assert condition != "service_healthy" or "healthcheck" in SERVICES[other]
    for mode in ("network_mode", "pid"):
        assert service.get(mode, "service:code").removeprefix("service:") in SERVICES
    for volume in (each.split(":")[0] for each in service.get("volumes", [])):
        assert (ROOT / volume).exists() if volume.startswith(".") else volume in COMPOSE["volumes"]


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", [name for name in OWN if SERVICES[name]["entrypoint"] == ["mlops-assets"]])
def test_command_of_a_service_can_be_parsed(name: str) -> None:
    """The command line is parsed by its own command; nothing is run."""
    words = [word.replace("${PROJECT:?}", "bike_demand") for word in SERVICES[name]["command"]]
    command: Any = get_command(app)
    while isinstance(command, Group):
        command = command.commands[words.pop(0)]
    command.make_context(name, words)


@pytest.mark.parametrize("name", OWN)
def test_images_copy_files_that_exist(name: str) -> None:
    dockerfile = (ROOT / SERVICES[name]["build"]["dockerfile"]).read_text()
    copied = re.findall(r"^COPY (?!--from|\.)(.*) \S+$", dockerfile, re.MULTILINE)
    assert copied
    assert [path for line in copied for path in line.split() if not (ROOT / path).exists()] == []
