"""`check-cluster` reports what prevents an installation of the chart, and how to fix it, without any change."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cluster_client import NAMESPACE, RELEASE, kubectl, objects, run
from installation import Installed

IMAGE = "docker.io/mlops-assets/platform:test"
ABSENT = "docker.io/mlops-assets/platform:never"


def check(*arguments: str) -> str:
    command = [sys.executable, "-c", "from mlops_assets.cli import app; app()", "check-cluster"]
    return run(*command, "--namespace", NAMESPACE, *arguments, check=False)


def test_check_of_a_working_installation_finds_nothing(installed: Installed) -> None:
    output = check("--image", IMAGE)
    assert "NO" not in output and "??" not in output
    assert output.count("ok  ") == 4


def test_wrong_context_is_reported_with_the_existing_ones(installed: Installed) -> None:
    output = check("--context", "nowhere")
    assert "NO  there is no context 'nowhere'" in output and "choose one of mlops-assets" in output


def test_missing_namespace_or_secret_is_reported(installed: Installed) -> None:
    assert "there is no namespace elsewhere" in check("--namespace", "elsewhere")
    assert "kubectl create secret generic other" in check("--secret", "other")


def test_image_that_cannot_be_pulled_is_reported_and_trial_pod_removed(installed: Installed) -> None:
    output = check("--image", IMAGE, "--image", ABSENT)
    assert f"ok  image {IMAGE}: a node holds it" in output
    assert f"NO  image {ABSENT}: no node can pull it (ErrImagePull" in output
    assert not [pod for pod in objects("pods") if pod["metadata"]["name"].startswith("check-image-")]


def test_findings_are_printed_as_json(installed: Installed) -> None:
    (found,) = json.loads(check("--context", "nowhere", "--json"))["findings"]
    assert found["stops"] and "nowhere" in found["what"] and "mlops-assets" in found["remedy"]


def test_unreachable_cluster_is_reported(installed: Installed, tmp_path: Path) -> None:
    config = kubeconfig(tmp_path, server="https://127.0.0.1:9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(config))
        assert "its API does not answer" in check()


def test_missing_rights_are_reported(installed: Installed, tmp_path: Path) -> None:
    token = kubectl("create", "token", f"{RELEASE}-services").strip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, token=token)))
        output = check()
    assert f"NO  namespace {NAMESPACE}: you may not create configmaps" in output
    assert "ask for the role `admin`" in output


def kubeconfig(folder: Path, server: str | None = None, token: str | None = None) -> Path:
    """Write the cluster's kubeconfig with another server or another user, and return its path."""
    found = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    if server is not None:
        found["clusters"][0]["cluster"]["server"] = server
    if token is not None:
        found["users"][0]["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(found))
    return path
