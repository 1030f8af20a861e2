"""`check-cluster`: checks whether the Helm chart can be installed, without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

KEYS = (
    "PGPASSWORD",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MLOPS_ASSETS_INFLUX_TOKEN",
)
"""Keys that the platform's Secret must have."""
NEEDED = (
    *(("create", group, kind) for group, kind in (("", "configmaps"), ("", "services"), ("", "serviceaccounts"))),
    *(("create", group, kind) for group, kind in (("apps", "deployments"), ("batch", "jobs"))),
    ("create", "", "persistentvolumeclaims"),
    ("create", "rbac.authorization.k8s.io", "roles"),
    ("create", "rbac.authorization.k8s.io", "rolebindings"),
    # where Helm keeps its releases
    ("create", "", "secrets"),
)
WITHIN = 10
"""Seconds for each request to the cluster."""
PULLED_WITHIN = 300
"""Seconds for a node to pull an image."""
NOT_PULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
"""Reasons with which a container waits for an image that cannot be pulled."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    remedy: str | None = None
    """What to do; None: the check passed."""
    stops: bool = True
    """Whether the chart cannot be installed until this is done."""


def check_cluster(
    context: str | None, namespace: str, secret: str, images: list[str], pull_secrets: list[str]
) -> Iterator[Finding]:
    """Check context, API, namespace, Secret, rights and images; stop when a failure makes the next check impossible.

    Args:
        context: of the kubeconfig; None: the current one.
        namespace: where the chart is to be installed.
        secret: the chart's `secretName`.
        images: image names, each as `repository:tag`. A node must hold each image or be able to pull it, which a pod
            tries; that pod is deleted.
        pull_secrets: the chart's `imagePullSecrets`.
    """
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        known, current = config.list_kube_config_contexts()
    except config.ConfigException as error:
        remedy = "set KUBECONFIG, or log in to the cluster; `kubectl config use-context` chooses the current one"
        yield Finding(f"no kubeconfig can be read: {error}", remedy)
        return
    names = [each["name"] for each in known]
    chosen = context or current["name"]
    if chosen not in names:
        yield Finding(f"there is no context {chosen!r}", f"choose one of {', '.join(names)}")
        return
    settings = client.Configuration()
    # no retries, because a cluster that does not answer is a result of the check
    settings.retries = False
    config.load_kube_config(context=chosen, client_configuration=settings)
    api = client.ApiClient(settings)
    try:
        server = client.VersionApi(api).get_code(_request_timeout=WITHIN).git_version
        yield Finding(f"context {chosen}: Kubernetes {server} answers")
        core = client.CoreV1Api(api)
        if _result_of(lambda: core.read_namespace(namespace, _request_timeout=WITHIN)) is None:
            yield Finding(f"there is no namespace {namespace}", f"kubectl create namespace {namespace}")
            return
        yield from _in_namespace(client, api, core, namespace, secret)
        yield from _images(core, namespace, images, pull_secrets)
    except ApiException as error:
        yield Finding(
            f"context {chosen}: the API refuses a request ({error.status}: {error.reason})", "check your rights there"
        )
    except HTTPError as error:
        yield Finding(f"context {chosen}: its API does not answer: {error!r}", "check the context's server")


def _in_namespace(client: Any, api: Any, core: Any, namespace: str, secret: str) -> Iterator[Finding]:
    missing = [what for what in NEEDED if not _may(client, api, namespace, *what)]
    if missing:
        words = ", ".join(f"{verb} {kind}" for verb, _, kind in missing)
        yield Finding(
            f"namespace {namespace}: you may not {words}", "ask for the role `admin` in it, or install as another user"
        )
    else:
        yield Finding(f"namespace {namespace}: you may create all objects of the chart")
    held = _seen(lambda: core.read_namespaced_secret(secret, namespace, _request_timeout=WITHIN))
    absent = [key for key in KEYS if held is None or key not in (held.data or {})]
    if absent:
        literals = " ".join(f"--from-literal={key}=..." for key in KEYS)
        remedy = f"kubectl create secret generic {secret} -n {namespace} {literals}"
        yield Finding(f"Secret {secret}: it does not exist, or lacks {', '.join(absent)}", remedy)
    else:
        yield Finding(f"Secret {secret}: it has all keys")


def _images(core: Any, namespace: str, images: list[str], pull_secrets: list[str]) -> Iterator[Finding]:
    if not images:
        return
    nodes = _seen(lambda: core.list_node(_request_timeout=WITHIN))
    held = {
        name
        for node in (nodes.items if nodes else [])
        for image in node.status.images or []
        for name in image.names or []
    }
    for image in images:
        if image in held or f"docker.io/{image}" in held:
            yield Finding(f"image {image}: a node holds it")
        else:
            yield _pull(core, namespace, image, pull_secrets)


def _pull(core: Any, namespace: str, image: str, pull_secrets: list[str]) -> Finding:
    """Let a node pull an image as for the chart, since only the nodes' registry knows whether the tag exists."""
    from kubernetes.client.exceptions import ApiException
    from kubernetes.watch import Watch

    try:
        name = core.create_namespaced_pod(namespace, _probe(image, pull_secrets), _request_timeout=WITHIN).metadata.name
    except ApiException as error:
        if error.status != 403:
            raise
        remedy = "make sure that a registry which the nodes can reach has this tag"
        return Finding(
            f"image {image}: no node holds it, and you may not create a pod that pulls it", remedy, stops=False
        )
    try:
        events = Watch().stream(
            core.list_namespaced_pod, namespace, field_selector=f"metadata.name={name}", timeout_seconds=PULLED_WITHIN
        )
        for event in events:
            for container in event["object"].status.container_statuses or []:
                if container.image_id:
                    return Finding(f"image {image}: a node has pulled it")
                waiting = container.state.waiting
                if waiting is not None and waiting.reason in NOT_PULLED:
                    found = f"image {image}: no node can pull it ({waiting.reason}: {waiting.message})"
                    return Finding(
                        found, "make sure that the registry has the tag, and that `imagePullSecrets` give access"
                    )
    finally:
        core.delete_namespaced_pod(name, namespace, grace_period_seconds=0, _request_timeout=WITHIN)
    found = f"image {image}: no node has pulled it within {PULLED_WITHIN} s"
    return Finding(found, "check the nodes and their connection to the registry", stops=False)


def _probe(image: str, pull_secrets: list[str]) -> dict[str, Any]:
    """Return a pod that needs an image and does nothing, allowed by the restricted pod security standard."""
    amounts = {"cpu": "10m", "memory": "32Mi"}
    return {
        "metadata": {"generateName": "check-image-"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "imagePullSecrets": [{"name": each} for each in pull_secrets],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "image",
                    "image": image,
                    "command": ["true"],
                    "resources": {"requests": amounts, "limits": amounts},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


def _may(client: Any, api: Any, namespace: str, verb: str, group: str, kind: str) -> bool:
    request = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(namespace=namespace, verb=verb, group=group, resource=kind)
        )
    )
    response = client.AuthorizationV1Api(api).create_self_subject_access_review(request, _request_timeout=WITHIN)
    return bool(response.status.allowed)


UNSEEN = object()
"""Stands for an object that may exist but may not be read."""


def _result_of(request: Callable[[], Any]) -> Any:
    """Return the result of a request; None for an object that does not exist, UNSEEN for one that may not be read."""
    from kubernetes.client.exceptions import ApiException

    try:
        return request()
    except ApiException as error:
        if error.status == 404:
            return None
        if error.status == 403:
            return UNSEEN
        raise


def _seen(request: Callable[[], Any]) -> Any:
    """Return the result of a request; None for an object that does not exist or may not be read."""
    found = _result_of(request)
    return None if found is UNSEEN else found
