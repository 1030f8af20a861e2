"""No log, response, fact or metadata in Dagster's UI contains a secret."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import httpx
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from example_project import States, by_hand, run_until_only_retraining_is_left, running_harness
from harness import Harness
from pydantic import ValidationError

from mlops_assets.resources.settings import Settings

DAY = timedelta(days=1)
SECRETS = {
    "MLOPS_ASSETS_INFLUX_TOKEN": "secret-of-influx-4711",
    "PGPASSWORD": "secret-of-postgres-4711",
    "MLFLOW_TRACKING_PASSWORD": "secret-of-mlflow-4711",
}
CLIENT = "secret-of-clients-4711"


@pytest.fixture
def harness(states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    """A served project with every secret set in its environment; clients must send a token."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "client-token").write_text(CLIENT)
    monkeypatch.setenv("MLOPS_ASSETS_CLIENT_TOKEN_FILE", str(tmp_path / "client-token"))
    with running_harness(states.copy("bootstrapped", tmp_path / "home")) as found:
        yield found


def test_no_log_response_fact_or_metadata_contains_a_secret(harness: Harness, tmp_path: Path) -> None:
    # a day of work with predictions, reports and a decision; then failures, since errors quote most
    harness.context.clock.move(harness.context.now() + DAY)
    run_until_only_retraining_is_left(harness)
    assert by_hand(harness, "endpoint").success
    url = str(harness.context.endpoint.url)
    right, wrong = {"Authorization": f"Bearer {CLIENT}"}, {"Authorization": f"Bearer {CLIENT}x"}
    shown = {
        f"{path} {name}": httpx.get(f"{url}{path}", headers=headers, trust_env=False).text
        for path in ("/status", "/metrics", "/openapi.json", "/readyz", "/livez", "/version", "/nowhere")
        for name, headers in (("known", right), ("unknown", wrong), ("nobody", {}))
    }
    shown["refused"] = httpx.post(f"{url}/invocations", json={"inputs": [{}]}, headers=right, trust_env=False).text
    shown["unknown"] = httpx.post(f"{url}/invocations", json={"inputs": [{}]}, headers=wrong, trust_env=False).text
    assert "champion" in shown["/status known"] and "mlops_requests" in shown["/metrics known"]
    harness.context.endpoint.stop()
    (tmp_path / "client-token").write_text("")
    assert not by_hand(harness, "endpoint").success, "without its token the service must not start"

    secrets = {*SECRETS.values(), CLIENT, (harness.context.endpoint.folder / "token").read_text()}
    events = [record.event_log_entry for run in harness.instance.get_runs() for record in records(harness, run)]
    assert len(events) > 100
    shown |= {f"event {n}": f"{dg.serialize_value(event)} {event.user_message}" for n, event in enumerate(events)}
    # what the UI gets from the code location: assets, jobs, resources and their configuration
    shown["definitions"] = dg.serialize_value(RepositorySnap.from_def(harness.repository))
    shown["resources"] = harness.platform.model_dump_json()
    found = {f"{name} shows {secret}" for name, text in shown.items() for secret in secrets if secret in text}
    # all files, including logs, ledger and predictions, except the file of the token itself
    for path in (each for each in (tmp_path / "home").rglob("*") if each.is_file() and each.name != "token"):
        data = path.read_bytes()
        found |= {f"{path} holds {secret}" for secret in secrets if secret.encode() in data}
    assert not found


def records(harness: Harness, run: dg.DagsterRun) -> list[dg.EventLogRecord]:
    return list(harness.instance.get_records_for_run(run.run_id).records)


@pytest.mark.parametrize("address", ["postgresql://mlops:{}@db:5432/mlops", "postgresql://mlops@db/mlops?password={}"])
def test_password_in_an_address_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("MLOPS_ASSETS_DATABASE_URL", address.format("secret-in-address-4711"))
    with pytest.raises(ValidationError, match="PGPASSFILE") as caught:
        Settings()
    assert "4711" not in str(caught.value)
