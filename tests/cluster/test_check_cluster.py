"""What stands in the way of the chart is said before anything is changed, with what to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import Installed
from lab import NAMESPACE, RELEASE, kubectl, run

IMAGE = "docker.io/mlops-assets/platform:test"


def check(*arguments: str) -> str:
    command = [sys.executable, "-c", "from mlops_assets.cli import app; app()", "check-cluster"]
    return run(*command, "--namespace", NAMESPACE, *arguments, check=False)


def test_where_all_is_as_it_should_be_nothing_is_said_against_it(installed: Installed) -> None:
    said = check("--image", IMAGE)
    assert "NO" not in said and "??" not in said
    assert said.count("ok  ") == 4


def test_a_wrong_context_is_named_with_those_there_are(installed: Installed) -> None:
    said = check("--context", "nowhere")
    assert "NO  there is no context 'nowhere'" in said and "choose one of mlops-assets" in said


def test_a_namespace_secret_or_image_that_is_not_there_is_named(installed: Installed) -> None:
    assert "there is no namespace elsewhere" in check("--namespace", "elsewhere")
    assert "kubectl create secret generic other" in check("--secret", "other")
    assert "??  image platform:never: no node holds it yet" in check("--image", "platform:never")


def test_a_cluster_that_does_not_answer_is_named(installed: Installed, tmp_path: Path) -> None:
    config = kubeconfig(tmp_path, server="https://127.0.0.1:9")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(config))
        assert "its API does not answer" in check()


def test_missing_rights_are_named(installed: Installed, tmp_path: Path) -> None:
    token = kubectl("create", "token", f"{RELEASE}-services").strip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, token=token)))
        said = check()
    assert f"NO  namespace {NAMESPACE}: you may not create configmaps" in said
    assert "ask for the role `admin`" in said


def kubeconfig(folder: Path, server: str | None = None, token: str | None = None) -> Path:
    """The cluster's kubeconfig with another server, or as somebody else."""
    found = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    if server is not None:
        found["clusters"][0]["cluster"]["server"] = server
    if token is not None:
        found["users"][0]["user"] = {"token": token}
    path = folder / "kubeconfig"
    path.write_text(json.dumps(found))
    return path
