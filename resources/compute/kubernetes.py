"""The Kubernetes API, as far as the platform needs it: apply, find, delete, and why pods are not ready."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

from mlops_assets.errors import ClusterError, ClusterUnreachable, translate_errors

Object = dict[str, Any]
"""A manifest, or an object as the API returns it."""
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
MANAGER = "mlops-assets"
"""Field manager of server-side apply: the owner of the applied fields."""
TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and to wait for a response."""


class Cluster:
    """One namespace of a cluster.

    Args:
        namespace: its name.
        client: a configured `kubernetes.client.ApiClient`.
    """

    def __init__(self, namespace: str, client: Any) -> None:
        self.namespace, self.client = namespace, client

    @classmethod
    def around(cls) -> Cluster:
        """Return the cluster and namespace in which this process runs.

        Raises:
            ClusterError: it runs in no cluster.
        """
        from kubernetes import client, config

        try:
            config.load_incluster_config()
        except config.ConfigException as error:
            raise ClusterError(
                "-",
                "Kubernetes",
                f"this process does not run in a cluster: {error}",
                "unset MLOPS_ASSETS_ENDPOINT_MANIFEST",
            ) from error
        return cls(NAMESPACE.read_text().strip(), client.ApiClient())

    @cached_property
    def _dynamic(self) -> Any:
        from kubernetes.dynamic import DynamicClient

        return DynamicClient(self.client)

    def apply(self, wanted: Object) -> None:
        """Create or update an object by server-side apply. Fields that the manifest does not name are not changed.

        Raises:
            ClusterError: the API refuses.
            ClusterUnreachable: the API does not answer.
        """
        with self._translate_errors("apply", wanted):
            self._kind(wanted).server_side_apply(
                body=wanted,
                namespace=self.namespace,
                field_manager=MANAGER,
                force_conflicts=True,
                _request_timeout=TIMEOUT,
            )

    def find(self, wanted: Object) -> Object | None:
        """Return an object; None when it does not exist.

        Raises:
            ClusterError: the API refuses.
            ClusterUnreachable: the API does not answer.
        """
        from kubernetes.dynamic.exceptions import NotFoundError

        with self._translate_errors("read", wanted):
            try:
                found = self._kind(wanted).get(
                    name=wanted["metadata"]["name"], namespace=self.namespace, _request_timeout=TIMEOUT
                )
            except NotFoundError:
                return None
            content: Object = found.to_dict()
            return content

    def delete(self, wanted: Object) -> None:
        """Delete an object and the objects that it owns. An absent object is no error.

        Raises:
            ClusterError: the API refuses.
            ClusterUnreachable: the API does not answer.
        """
        from kubernetes.dynamic.exceptions import NotFoundError

        with self._translate_errors("delete", wanted):
            try:
                self._kind(wanted).delete(
                    name=wanted["metadata"]["name"],
                    namespace=self.namespace,
                    body={"propagationPolicy": "Foreground"},
                    _request_timeout=TIMEOUT,
                )
            except NotFoundError:
                return

    def delete_jobs(self, labels: Mapping[str, str]) -> list[str]:
        """Delete all Jobs with these labels and their pods, and return the Jobs' names.

        Raises:
            ClusterError: the API refuses.
            ClusterUnreachable: the API does not answer.
        """
        jobs = self._listed({"apiVersion": "batch/v1", "kind": "Job"}, labels)
        for job in jobs:
            self.delete({"apiVersion": "batch/v1", "kind": "Job", "metadata": job["metadata"]})
        return [job["metadata"]["name"] for job in jobs]

    def trouble(self, labels: Mapping[str, str]) -> str:
        """Return a message that says why the pods with these labels are not ready.

        Raises:
            ClusterError: the API refuses.
            ClusterUnreachable: the API does not answer.
        """
        pods = self._listed({"apiVersion": "v1", "kind": "Pod"}, labels)
        return "; ".join(sentence for pod in pods for sentence in _troubles(pod)) or "it has no pod yet"

    def _listed(self, kind: Object, labels: Mapping[str, str]) -> list[Object]:
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        with self._translate_errors("list", {**kind, "metadata": {"name": selector}}):
            found = self._kind(kind).get(namespace=self.namespace, label_selector=selector, _request_timeout=TIMEOUT)
            items: list[Object] = found.to_dict()["items"]
            return items

    def _kind(self, wanted: Object) -> Any:
        return self._dynamic.resources.get(api_version=wanted["apiVersion"], kind=wanted["kind"])

    def _translate_errors(self, verb: str, wanted: Object) -> AbstractContextManager[None]:
        """Return a context that raises `ClusterError` or `ClusterUnreachable` in place of the client's errors."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        place = f"Kubernetes, namespace {self.namespace}: {verb} {wanted['kind']} {wanted['metadata']['name']}"

        def unreachable(found: str) -> ClusterUnreachable:
            return ClusterUnreachable(
                "-", place, f"its API does not answer: {found}", "check the cluster, then try again"
            )

        def status_error(error: ApiException) -> ClusterError:
            if error.status is None or error.status >= 500 or error.status == 429:
                return unreachable(f"{error.status}: {error.reason}")
            found = f"it refuses the request ({error.status}): {_message(error)}"
            return ClusterError("-", place, found, "check the rights of this pod's ServiceAccount, and the manifest")

        return translate_errors({ApiException: status_error, HTTPError: lambda error: unreachable(repr(error))})


def _message(error: Any) -> str:
    """Return the message in the API's response, without its headers."""
    import json

    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _troubles(pod: Object) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            yield f"pod {name} is not scheduled: {condition.get('message', condition.get('reason'))}"
    for container in status.get("containerStatuses", []):
        state = container.get("state", {})
        for kind in ("waiting", "terminated"):
            if kind in state:
                reason = state[kind].get("reason", kind)
                yield f"pod {name}: {reason} {state[kind].get('message', '')}".rstrip()
        if "running" in state and not container.get("ready"):
            yield f"pod {name} runs, but is not ready"
