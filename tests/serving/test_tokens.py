"""Tokens of the scoring service: which requests need which token."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from bundles import Version
from scoring_services import Start, due_of, recorded, score, serving

from mlops_assets.errors import EndpointError
from mlops_assets.resources.scoring.config import ClientToken, ServiceConfig, scorer_token
from mlops_assets.timeline import iso


def test_client_token_is_required_when_one_is_set(rentals: dict[int, Version], start: Start, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame\n")
    client, records = start(rentals[1], client_token_file=secret), rentals[1].records[:1]
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "open sesame"}):
        response = client.ask(records, headers=headers)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/status", headers=headers).status_code == 401
        assert client.get("/metrics", headers=headers).status_code == 401
    right = {"Authorization": "Bearer open sesame"}
    assert client.ask(records, headers=right).status_code == 200
    assert client.get("/status", headers=right).status_code == 200
    assert client.get("/ping").status_code == 200
    assert score(client, rentals[1], records).status_code == 200


def test_absent_or_empty_token_file_prevents_the_start(
    rentals: dict[int, Version], start: Start, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    for text in (None, "", " \n"):
        if text is not None:
            secret.write_text(text)
        with pytest.raises(EndpointError, match="absent or empty"):
            start(rentals[1], client_token_file=secret)


def test_client_token_is_replaced_without_a_restart(
    rentals: dict[int, Version], start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_assets.resources.scoring.config.CHECK_TOKEN_EVERY", 0.05)
    secret, shadow_for = tmp_path / "secret", tmp_path / "next"
    secret.write_text("first")
    client, records = start(rentals[1], client_token_file=secret), rentals[1].records[:1]

    def status(token: str) -> int:
        return client.ask(records, headers={"Authorization": f"Bearer {token}"}).status_code

    assert (status("first"), status("other")) == (200, 401)
    # the same length, so that the change is not noticed by the file's size
    shadow_for.write_text("other")
    shadow_for.replace(secret)
    time.sleep(0.1)
    assert (status("first"), status("other")) == (401, 200)
    # during a replacement the old token stays valid
    for broken in (lambda: secret.write_text(""), secret.unlink):
        broken()
        time.sleep(0.1)
        assert (status("first"), status(""), status("other")) == (401, 401, 200)
    secret.write_text("third")
    time.sleep(0.1)
    assert (status("other"), status("third")) == (401, 200)


def test_token_file_is_checked_at_most_once_a_second(
    rentals: dict[int, Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first")
    token = ClientToken(ServiceConfig(spec=rentals[1].spec, state=tmp_path, client_token_file=secret))
    moment = time.monotonic()
    monkeypatch.setattr("mlops_assets.resources.scoring.config.time.monotonic", lambda: moment)
    secret.write_text("second")
    assert token.value == "first"
    moment += 1.1
    assert token.value == "second"


def test_environment_variable_sets_the_client_token(
    rentals: dict[int, Version], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_ASSETS_CLIENT_TOKEN", "from outside")
    client = start(rentals[1])
    assert client.ask(rentals[1].records[:1]).status_code == 401
    assert client.ask(rentals[1].records[:1], headers={"Authorization": "bearer from outside"}).status_code == 200


def test_admin_api_and_due_times_need_the_scorer_token(rentals: dict[int, Version], start: Start) -> None:
    client, version = start(rentals[1]), rentals[1]
    bundle = {"version": 2, "folder": str(rentals[2].folder)}
    bodies = {"load": bundle, "switch": {"version": 2}, "unload": {}, "shadow": bundle, "drain": {}}
    for path, body in bodies.items():
        assert client.post(f"/admin/{path}", json=body).status_code == 401
        wrong = client.post(f"/admin/{path}", json=body, headers={"X-Scorer-Token": "guessed"})
        assert wrong.status_code == 403
    due = [iso(moment) for moment in due_of(version, version.records[:1])]
    body = {"inputs": version.records[:1], "due": due, "now": due}
    assert client.post("/invocations", json=body).status_code == 403
    assert client.post("/invocations", json=body, headers={"X-Scorer-Token": b"\xe9"}).status_code == 403
    assert recorded(client, "champion", "ad_hoc").empty
    assert client.service.slots.at("standby") is None


def test_empty_scorer_token_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rentals" / "endpoint").mkdir(parents=True)
    (tmp_path / "rentals" / "endpoint" / "token").touch()
    with pytest.raises(EndpointError, match=r"\[rentals\] .*token: the file is empty"):
        scorer_token(tmp_path / "rentals" / "endpoint")


def test_scorer_token_is_private_and_lasting(rentals: dict[int, Version], tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        with serving(rentals[1], tmp_path) as client:
            tokens.append(client.scorer["X-Scorer-Token"])
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) > 30
    assert (tmp_path / "rentals" / "endpoint" / "token").stat().st_mode & 0o777 == 0o600
