"""An endpoint's manifests: what is put into them, and what is refused before a request to the cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from example_project import example_project
from pydantic import ValidationError

from mlops_assets.errors import EndpointError
from mlops_assets.resources.scoring.endpoint_deployment import SETTINGS, EndpointDeployment, rolled_out

MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: "${name}-endpoint"}
spec: {ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: "${name}-endpoint"}
spec:
  selector: {matchLabels: {project: "${project}"}}
  template:
    metadata: {labels: {project: "${project}"}}
    spec: {containers: [{name: endpoint, args: [serve, "${project}", "$PLAIN"], resources: {limits: {memory: 1Gi}}}]}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "endpoint.yaml"
    path.write_text(MANIFEST)
    return path


def test_project_name_is_filled_in_as_kubernetes_name(tmp_path: Path, manifest: Path) -> None:
    with EndpointDeployment(example_project(name="high_tide"), tmp_path, manifest) as service:
        assert service.deployment["metadata"]["name"] == service.service["metadata"]["name"] == "high-tide-endpoint"
        (container,) = service.deployment["spec"]["template"]["spec"]["containers"]
        assert container["args"] == ["serve", "high_tide", "$PLAIN"]
        assert container["resources"] == {"limits": {"memory": "1Gi"}}


def test_project_resources_replace_those_of_the_manifest(tmp_path: Path, manifest: Path) -> None:
    spec = example_project(resources={"endpoint": {"cpu": "250m", "memory": "2Gi"}})
    with EndpointDeployment(spec, tmp_path, manifest) as service:
        (container,) = service.deployment["spec"]["template"]["spec"]["containers"]
        assert container["resources"] == {
            "requests": {"cpu": "250m", "memory": "2Gi"},
            "limits": {"memory": "2Gi"},
        }


def test_pods_are_replaced_only_when_yaml_changes(tmp_path: Path, manifest: Path) -> None:
    def settings(**parts: object) -> str:
        with EndpointDeployment(example_project(**parts), tmp_path, manifest) as service:
            return str(service.deployment["spec"]["template"]["metadata"]["annotations"][SETTINGS])

    assert settings() == settings()
    assert settings() != settings(serving={"every": "2h"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "the file does not exist"),
        ("", "a Deployment and a Service were expected, not nothing"),
        ("kind: Service\nmetadata: {name: a}", "a Deployment and a Service were expected, not Service"),
    ],
)
def test_invalid_manifest_error_names_the_setting(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "endpoint.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(EndpointError, match=f"{message}.*MLOPS_ASSETS_ENDPOINT_MANIFEST"):
        EndpointDeployment(example_project(), tmp_path, path)


@pytest.mark.parametrize(
    ("status", "done"),
    [
        ({}, False),
        ({"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}, True),
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}, False),
        ({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 1}, False),
        ({"observedGeneration": 3, "replicas": 1, "updatedReplicas": 1}, False),
    ],
)
def test_rollout_is_done_when_all_pods_are_new_and_ready(status: dict[str, int], done: bool) -> None:
    assert rolled_out({"metadata": {"generation": 3}, "spec": {"replicas": 1}, "status": status}) is done


def test_training_memory_must_fit_the_jvm_heap() -> None:
    with pytest.raises(ValidationError, match=r"resources\.training\.memory \(1Gi\) must be at least the heap"):
        example_project(resources={"training": {"cpu": "1", "memory": "1Gi"}})
    with pytest.raises(ValidationError, match=r"resources"):
        example_project(resources={"training": {"cpu": "1", "memory": "lots"}})
