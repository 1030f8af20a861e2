"""`check-cluster`: whether the chart can be installed, said before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

KEYS = (
    "PGPASSWORD",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MLOPS_ASSETS_INFLUX_TOKEN",
)
"""What the platform's Secret must hold."""
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
"""Seconds for each question."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    remedy: str | None = None
    """What to do; None: it is as it should be."""
    stops: bool = True
    """Whether the chart cannot be installed like that."""


def check_cluster(context: str | None, namespace: str, secret: str, images: list[str]) -> Iterator[Finding]:
    """Look at context, API, namespace, Secret, rights and images; what cannot be asked any more is left out.

    Args:
        context: of the kubeconfig; None: the current one.
        namespace: where the chart is to be installed.
        secret: the chart's `secretName`.
        images: as `repository:tag`; whether a node holds them.
    """
    from kubernetes import client, config
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        known, current = config.list_kube_config_contexts()
    except config.ConfigException as error:
        yield Finding(f"no kubeconfig can be read: {error}", "set KUBECONFIG, or log in to the cluster")
        return
    names = [each["name"] for each in known]
    chosen = context or current["name"]
    if chosen not in names:
        yield Finding(f"there is no context {chosen!r}", f"choose one of {', '.join(names)}")
        return
    settings = client.Configuration()
    # an absent cluster is an answer, too: it is not asked again and again
    settings.retries = False
    config.load_kube_config(context=chosen, client_configuration=settings)
    api = client.ApiClient(settings)
    try:
        server = client.VersionApi(api).get_code(_request_timeout=WITHIN).git_version
        yield Finding(f"context {chosen}: Kubernetes {server} answers")
        yield from _in_namespace(client, api, namespace, secret)
        yield from _images(client, api, images)
    except ApiException as error:
        yield Finding(f"context {chosen}: it refuses ({error.status}: {error.reason})", "look at your rights there")
    except HTTPError as error:
        yield Finding(f"context {chosen}: its API does not answer: {error!r}", "look at the context's server")


def _in_namespace(client: Any, api: Any, namespace: str, secret: str) -> Iterator[Finding]:
    core = client.CoreV1Api(api)
    if _absent(lambda: core.read_namespace(namespace, _request_timeout=WITHIN)):
        yield Finding(f"there is no namespace {namespace}", f"kubectl create namespace {namespace}")
        return
    missing = [what for what in NEEDED if not _may(client, api, namespace, *what)]
    if missing:
        words = ", ".join(f"{verb} {kind}" for verb, _, kind in missing)
        yield Finding(
            f"namespace {namespace}: you may not {words}", "ask for the role `admin` in it, or install as somebody else"
        )
    else:
        yield Finding(f"namespace {namespace}: you may create all that the chart does")
    held = _found(lambda: core.read_namespaced_secret(secret, namespace, _request_timeout=WITHIN))
    absent = [key for key in KEYS if held is None or key not in (held.data or {})]
    if absent:
        literals = " ".join(f"--from-literal={key}=..." for key in KEYS)
        remedy = f"kubectl create secret generic {secret} -n {namespace} {literals}"
        yield Finding(f"Secret {secret}: it is not there, or without {', '.join(absent)}", remedy)
    else:
        yield Finding(f"Secret {secret}: all keys are there")


def _images(client: Any, api: Any, images: list[str]) -> Iterator[Finding]:
    if not images:
        return
    nodes = _found(lambda: client.CoreV1Api(api).list_node(_request_timeout=WITHIN))
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
            yield Finding(
                f"image {image}: no node holds it yet",
                "see that it is in a registry which the nodes reach, with this tag",
                stops=False,
            )


def _may(client: Any, api: Any, namespace: str, verb: str, group: str, kind: str) -> bool:
    asked = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(namespace=namespace, verb=verb, group=group, resource=kind)
        )
    )
    answer = client.AuthorizationV1Api(api).create_self_subject_access_review(asked, _request_timeout=WITHIN)
    return bool(answer.status.allowed)


def _absent(ask: Any) -> bool:
    """Whether what is asked for is not there; what may not be seen may be."""
    from kubernetes.client.exceptions import ApiException

    try:
        ask()
    except ApiException as error:
        if error.status == 404:
            return True
        if error.status != 403:
            raise
    return False


def _found(ask: Any) -> Any:
    """What a question finds; None for what is not there, or may not be seen."""
    from kubernetes.client.exceptions import ApiException

    try:
        return ask()
    except ApiException as error:
        if error.status in (403, 404):
            return None
        raise
