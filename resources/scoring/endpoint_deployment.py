"""A project's scoring service as a Deployment of the Kubernetes cluster. Knows no Dagster.

The manifests come from outside (the Helm chart), with images, secrets and volumes; here they are given the project's
name, its resources and a digest of its settings, and applied by server-side apply: what somebody else changed or
deleted is put right.
The service finds out by itself what it serves (`mlops-assets serve endpoint`); promotions talk to the pod that runs.
"""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from mlops_assets.errors import EndpointError
from mlops_assets.resources.compute.kubernetes import Cluster, Object
from mlops_assets.resources.scoring.config import ModelRef, ServiceConfig, fingerprint
from mlops_assets.resources.scoring.service import START_WITHIN, ScoringService
from mlops_assets.spec.project import ProjectSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOK_EVERY = 0.5
SETTINGS = "mlops-assets/settings"
"""Annotation of the pods: the digest of their settings. A change of the project's YAML replaces them."""


class EndpointDeployment(ScoringService):
    """The scoring service of a project in the cluster.

    Args:
        spec: the project.
        state: the state folder, a volume that the pods share.
        manifest: a YAML file with a Deployment and a Service, in which `${project}` and `${name}` stand for the
            project: its name, and its name as Kubernetes takes names.
        client_token_file: holds the token that clients must show; None: none is asked for.
        cluster: the cluster; None: the one that this process runs in.

    Raises:
        EndpointError: when the file does not hold one Deployment and one Service.
    """

    def __init__(
        self,
        spec: ProjectSpec,
        state: Path,
        manifest: Path,
        client_token_file: Path | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        super().__init__(spec, state, client_token_file)
        self.manifest = manifest
        self._given_cluster = cluster
        self.deployment, self.service = self._rendered()

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster's API."""
        return self._given_cluster or Cluster.around()

    def _rendered(self) -> tuple[Object, Object]:
        if not self.manifest.is_file():
            raise self._error(
                f"manifest {self.manifest}", "there is no such file", "look at MLOPS_ASSETS_ENDPOINT_MANIFEST"
            )
        names = {"project": self.project, "name": self.project.replace("_", "-")}
        text = Template(self.manifest.read_text()).safe_substitute(names)
        found = {each["kind"]: each for each in yaml.safe_load_all(text) if each}
        if set(found) != {"Deployment", "Service"}:
            raise self._error(
                f"manifest {self.manifest}",
                f"a Deployment and a Service were expected, not {', '.join(sorted(found)) or 'nothing'}",
                "look at MLOPS_ASSETS_ENDPOINT_MANIFEST",
            )
        pod = found["Deployment"]["spec"]["template"]
        pod.setdefault("metadata", {}).setdefault("annotations", {})[SETTINGS] = self._settings()
        wanted = self.spec.resources.endpoint
        if wanted is not None:
            pod["spec"]["containers"][0]["resources"] = wanted.as_container()
        return found["Deployment"], found["Service"]

    def _settings(self) -> str:
        return fingerprint(ServiceConfig(spec=self.spec, state=self.state, client_token_file=self.client_token_file))

    @property
    def url(self) -> str | None:
        """Its Service's address; None while no pod is ready."""
        found = self.cluster.find(self.deployment)
        if found is None or not found.get("status", {}).get("readyReplicas"):
            return None
        return self._address()

    def _address(self) -> str:
        metadata, port = self.service["metadata"], self.service["spec"]["ports"][0]["port"]
        return f"http://{metadata['name']}.{self.cluster.namespace}:{port}"

    @property
    def log_place(self) -> str:
        """The command that shows its log."""
        return f"kubectl logs deployment/{self.deployment['metadata']['name']} -n {self.cluster.namespace}"

    def ensure_running(
        self, serve: ModelRef | None = None, shadow: ModelRef | None = None, within: float = START_WITHIN
    ) -> None:
        """As `ScoringService.ensure_running`; Deployment and Service are brought to what the manifest says.

        What `serve` and `shadow` name is what the pod finds in the ledger too.
        """
        deadline = time.monotonic() + within
        for wanted in (self.service, self.deployment):
            self.cluster.apply(wanted)
        found: Mapping[str, Any] | None = None
        while time.monotonic() < deadline:
            found = self.cluster.find(self.deployment)
            if found is not None and rolled_out(found) and self._answers(self._address()):
                return
            time.sleep(LOOK_EVERY)
        raise self._not_ready(found)

    def _not_ready(self, found: Mapping[str, Any] | None) -> EndpointError:
        name = self.deployment["metadata"]["name"]
        if found is None:
            return self._error(f"deployment {name}", "somebody deletes it", "look who does, and run this again")
        why = self.cluster.trouble(self.deployment["spec"]["selector"]["matchLabels"])
        return self._error(
            f"deployment {name}",
            f"it is not ready in time: {why}",
            f"see {self.log_place}, mend it and run this again",
        )

    def stop(self) -> bool:
        """As `ScoringService.stop`: the Deployment is deleted, the Service stays and names nobody."""
        there = self.cluster.find(self.deployment) is not None
        if there:
            self.cluster.delete(self.deployment)
        return there


def rolled_out(deployment: Mapping[str, Any]) -> bool:
    """Whether all pods of a Deployment are of its newest generation, and ready."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    counts = (status.get(name, 0) for name in ("updatedReplicas", "readyReplicas", "replicas"))
    return seen and all(count == wanted for count in counts)
