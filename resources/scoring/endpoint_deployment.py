"""A project's scoring service as a Deployment in the Kubernetes cluster.

The manifests come from outside (the Helm chart), with images, secrets and volumes. This module fills in the project's
name, its resources and a digest of its settings, and applies them by server-side apply, which also undoes changes and
deletions by others.

A pod reads from the ledger which versions it serves (`mlops-assets serve endpoint`); promotions call the running pod.
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
from mlops_assets.resources.scoring.endpoint import START_WITHIN, Endpoint
from mlops_assets.spec.project import ProjectSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECK_EVERY = 0.5
"""Seconds between two checks whether the pods are ready."""
SETTINGS = "mlops-assets/settings"
"""Annotation of the pods: the digest of their settings. When the project's YAML changes, the pods are replaced."""


class EndpointDeployment(Endpoint):
    """The scoring service of a project in the cluster.

    Args:
        spec: the project.
        state: the folder with a folder of local state per project, on a volume that the pods share.
        manifest: a YAML file with a Deployment and a Service, in which `${project}` stands for the project's name, and
            `${name}` for that name in the form that Kubernetes accepts.
        client_token_file: file with the token that clients must send; None: none is required.
        cluster: the cluster; None: the one that this process runs in.

    Raises:
        EndpointError: the file does not hold one Deployment and one Service.
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
        """The API of the cluster."""
        return self._given_cluster or Cluster.around()

    def _rendered(self) -> tuple[Object, Object]:
        if not self.manifest.is_file():
            raise self._error(
                f"manifest {self.manifest}", "the file does not exist", "correct MLOPS_ASSETS_ENDPOINT_MANIFEST"
            )
        names = {"project": self.project, "name": self.project.replace("_", "-")}
        text = Template(self.manifest.read_text()).safe_substitute(names)
        found = {each["kind"]: each for each in yaml.safe_load_all(text) if each}
        if set(found) != {"Deployment", "Service"}:
            raise self._error(
                f"manifest {self.manifest}",
                f"a Deployment and a Service were expected, not {', '.join(sorted(found)) or 'nothing'}",
                "correct MLOPS_ASSETS_ENDPOINT_MANIFEST",
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
        """The address of the Kubernetes Service; None while no pod is ready."""
        found = self.cluster.find(self.deployment)
        if found is None or not found.get("status", {}).get("readyReplicas"):
            return None
        return self._address()

    def _address(self) -> str:
        metadata, port = self.service["metadata"], self.service["spec"]["ports"][0]["port"]
        return f"http://{metadata['name']}.{self.cluster.namespace}:{port}"

    @property
    def log_place(self) -> str:
        """The command that shows the log."""
        return f"kubectl logs deployment/{self.deployment['metadata']['name']} -n {self.cluster.namespace}"

    def start(
        self, serve: ModelRef | None = None, shadow: ModelRef | None = None, within: float = START_WITHIN
    ) -> None:
        """Apply Deployment and Service, and return when all pods are ready and the service responds.

        Args:
            serve: not used: the pod reads from the ledger which version serves.
            shadow: not used, for the same reason.
            within: seconds to wait at most.

        Raises:
            EndpointError: the pods are not ready in time.
        """
        deadline = time.monotonic() + within
        for wanted in (self.service, self.deployment):
            self.cluster.apply(wanted)
        found: Mapping[str, Any] | None = None
        while time.monotonic() < deadline:
            found = self.cluster.find(self.deployment)
            if found is not None and rolled_out(found) and self._responds(self._address()):
                return
            time.sleep(CHECK_EVERY)
        raise self._not_ready(found)

    def _not_ready(self, found: Mapping[str, Any] | None) -> EndpointError:
        name = self.deployment["metadata"]["name"]
        if found is None:
            return self._error(f"deployment {name}", "it was deleted", "find out who deletes it, and run this again")
        why = self.cluster.trouble(self.deployment["spec"]["selector"]["matchLabels"])
        return self._error(
            f"deployment {name}",
            f"it is not ready in time: {why}",
            f"see {self.log_place}, fix it and run this again",
        )

    def stop(self) -> bool:
        """Delete the Deployment; the Kubernetes Service stays, without pods. Return whether there was a Deployment."""
        there = self.cluster.find(self.deployment) is not None
        if there:
            self.cluster.delete(self.deployment)
        return there


def rolled_out(deployment: Mapping[str, Any]) -> bool:
    """Return whether all pods of a Deployment are of its newest generation, and ready."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    counts = (status.get(name, 0) for name in ("updatedReplicas", "readyReplicas", "replicas"))
    return seen and all(count == wanted for count in counts)
