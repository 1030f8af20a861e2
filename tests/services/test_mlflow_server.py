"""An MLflow server that does not answer or refuses is reported within seconds, with the settings to check."""

from __future__ import annotations

import time

import pytest
from servers import MLflowServer, free_port

from mlops_assets.errors import RegistryError, RegistryUnreachable
from mlops_assets.resources.tracking.registry import Registry

LIMIT = 20.0
"""Seconds within which the error must be raised; MLflow's own default is four minutes."""
pytestmark = pytest.mark.timeout(400)


def test_absent_server_is_reported_with_its_setting() -> None:
    begun = time.monotonic()
    with pytest.raises(RegistryUnreachable, match=r"MLflow at http://127\.0\.0\.1.*MLOPS_ASSETS_MLFLOW_URL"):
        Registry(f"http://127.0.0.1:{free_port()}", "example").ensure_experiment()
    assert time.monotonic() - begun < LIMIT


@pytest.mark.parametrize("password", ["wrong", None])
def test_wrong_credentials_raise_at_once_without_the_password(
    mlflow_server: MLflowServer, monkeypatch: pytest.MonkeyPatch, password: str | None
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", mlflow_server.user)
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    with pytest.raises(RegistryError, match=r"MLFLOW_TRACKING_USERNAME") as caught:
        Registry(mlflow_server.url, "example").ensure_experiment()
    assert not isinstance(caught.value, RegistryUnreachable)
    assert "401" in str(caught.value) or "not authenticated" in str(caught.value)
    assert mlflow_server.password not in str(caught.value)
