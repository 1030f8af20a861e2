"""The Kubernetes API, as far as the platform asks it: apply, find, delete, and what keeps pods from being ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from mlops_assets.errors import ClusterError, ClusterUnreachable

Object = dict[str, Any]
"""A manifest."""
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
MANAGER = "mlops-assets"
"""The owner of the fields that are applied."""
WITHIN = (5.0, 30.0)
"""Seconds to connect, and to answer."""


class Cluster:
    """A namespace of a cluster.

    Args:
        namespace: where everything lies.
        client: a configured `kubernetes.client.ApiClient`.
    """

    def __init__(self, namespace: str, client: Any) -> None:
        self.namespace, self.client = namespace, client

    @classmethod
    def around(cls) -> Cluster:
        """The cluster and namespace that this process runs in.

        Raises:
            ClusterError: when it runs in none.
        """
        from kubernetes import client, config

        try:
            config.load_incluster_config()
        except config.ConfigException as error:
            raise ClusterError(
                "-", "Kubernetes", f"this process runs in no cluster: {error}", "unset MLOPS_ASSETS_ENDPOINT_MANIFEST"
            ) from error
        return cls(NAMESPACE.read_text().strip(), client.ApiClient())

    @cached_property
    def _dynamic(self) -> Any:
        from kubernetes.dynamic import DynamicClient

        return DynamicClient(self.client)

    def apply(self, wanted: Object) -> None:
        """Bring an object to what a manifest says (server-side apply); fields that it does not name are left alone.

        Raises:
            ClusterError, ClusterUnreachable: it is refused, or nobody answers.
        """
        with self._asking("apply", wanted):
            self._kind(wanted).server_side_apply(
                body=wanted,
                namespace=self.namespace,
                field_manager=MANAGER,
                force_conflicts=True,
                _request_timeout=WITHIN,
            )

    def find(self, wanted: Object) -> Object | None:
        """An object as it is; None when it is not there.

        Raises:
            ClusterError, ClusterUnreachable: it is refused, or nobody answers.
        """
        from kubernetes.dynamic.exceptions import NotFoundError

        with self._asking("read", wanted):
            try:
                found = self._kind(wanted).get(
                    name=wanted["metadata"]["name"], namespace=self.namespace, _request_timeout=WITHIN
                )
            except NotFoundError:
                return None
            answer: Object = found.to_dict()
            return answer

    def delete(self, wanted: Object) -> None:
        """Delete an object and what it owns; one that is not there is no error.

        Raises:
            ClusterError, ClusterUnreachable: it is refused, or nobody answers.
        """
        from kubernetes.dynamic.exceptions import NotFoundError

        with self._asking("delete", wanted):
            try:
                self._kind(wanted).delete(
                    name=wanted["metadata"]["name"],
                    namespace=self.namespace,
                    body={"propagationPolicy": "Foreground"},
                    _request_timeout=WITHIN,
                )
            except NotFoundError:
                return

    def delete_jobs(self, labels: Mapping[str, str]) -> list[str]:
        """Delete all Jobs with these labels, and their pods; their names.

        Raises:
            ClusterError, ClusterUnreachable: it is refused, or nobody answers.
        """
        jobs = self._listed({"apiVersion": "batch/v1", "kind": "Job"}, labels)
        for job in jobs:
            self.delete({"apiVersion": "batch/v1", "kind": "Job", "metadata": job["metadata"]})
        return [job["metadata"]["name"] for job in jobs]

    def trouble(self, labels: Mapping[str, str]) -> str:
        """Why the pods with these labels are not ready, in words: a waiting reason, or the end of a log.

        Raises:
            ClusterError, ClusterUnreachable: it is refused, or nobody answers.
        """
        pods = self._listed({"apiVersion": "v1", "kind": "Pod"}, labels)
        return "; ".join(sentence for pod in pods for sentence in _troubles(pod)) or "it has no pod yet"

    def _listed(self, kind: Object, labels: Mapping[str, str]) -> list[Object]:
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        with self._asking("list", {**kind, "metadata": {"name": selector}}):
            found = self._kind(kind).get(namespace=self.namespace, label_selector=selector, _request_timeout=WITHIN)
            items: list[Object] = found.to_dict()["items"]
            return items

    def _kind(self, wanted: Object) -> Any:
        return self._dynamic.resources.get(api_version=wanted["apiVersion"], kind=wanted["kind"])

    @contextmanager
    def _asking(self, verb: str, wanted: Object) -> Iterator[None]:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        place = f"Kubernetes, namespace {self.namespace}: {verb} {wanted['kind']} {wanted['metadata']['name']}"
        try:
            yield
        except ApiException as error:
            if error.status is None or error.status >= 500 or error.status == 429:
                raise self._away(place, f"{error.status}: {error.reason}") from error
            raise ClusterError(
                "-",
                place,
                f"it refuses ({error.status}): {_words(error)}",
                "look at the rights of this pod's ServiceAccount, and at the manifest",
            ) from error
        except HTTPError as error:
            raise self._away(place, repr(error)) from error

    def _away(self, place: str, found: str) -> ClusterUnreachable:
        return ClusterUnreachable("-", place, f"its API does not answer: {found}", "look at the cluster; ask again")


def _words(error: Any) -> str:
    """The message of the API's answer, without its headers."""
    import json

    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _troubles(pod: Object) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            yield f"pod {name} has no node: {condition.get('message', condition.get('reason'))}"
    for container in status.get("containerStatuses", []):
        state = container.get("state", {})
        for kind in ("waiting", "terminated"):
            if kind in state:
                reason = state[kind].get("reason", kind)
                yield f"pod {name}: {reason} {state[kind].get('message', '')}".rstrip()
        if "running" in state and not container.get("ready"):
            yield f"pod {name} runs and is not ready"
