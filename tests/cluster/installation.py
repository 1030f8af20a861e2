"""The installation of the chart in a namespace that enforces the restricted pod security standard."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass

import pytest
from cluster_client import CHART, HOME, NAMESPACE, RELEASE, TRIAL, Dagster, helm, kubectl

STATE = HOME / "run" / "state"
"""The folder of the volume on the node, which is this machine."""
TOKEN = secrets.token_urlsafe(16)
KEYS = (
    "PGPASSWORD",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MLOPS_ASSETS_INFLUX_TOKEN",
)


@dataclass(frozen=True)
class Installed:
    """The installed chart."""

    dagster: Dagster
    seconds: float
    """Seconds from the start of `helm install` until all pods are ready."""
    client_token: str


def volume() -> dict[str, object]:
    """Return a volume on this node for the chart's claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{NAMESPACE}-state"},
        "spec": {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(STATE)},
            "claimRef": {"namespace": NAMESPACE, "name": f"{RELEASE}-state"},
        },
    }


def namespace() -> dict[str, object]:
    """Return a namespace that enforces the restricted pod security standard."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def secret() -> dict[str, object]:
    """Return the Secret that the chart needs."""
    values = {key: secrets.token_urlsafe(16) for key in KEYS}
    values |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLOPS_ASSETS_CLIENT_TOKEN": TOKEN}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mlops-assets"}, "stringData": values}


def apply(*manifests: dict[str, object]) -> None:
    """Create objects."""
    command = [str(HOME / "bin" / "kubectl"), "apply", "-n", NAMESPACE, "-f", "-"]
    text = "\n---\n".join(map(json.dumps, manifests))
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def install_chart() -> float:
    """Install the chart with its small servers, and return the seconds until all pods are ready."""
    STATE.mkdir(parents=True, exist_ok=True)
    shutil.chown(STATE, 1000, 1000)
    apply(namespace())
    apply(volume(), secret())
    begun = time.monotonic()
    out = helm("install", RELEASE, str(CHART), "-f", str(TRIAL), "--wait", "--timeout", "300s", within=320, check=False)
    seconds = time.monotonic() - begun
    if "STATUS: deployed" not in out:
        pods = kubectl("get", "pods", check=False)
        logs = kubectl("logs", "-l", f"app.kubernetes.io/instance={RELEASE}", "--tail=15", "--prefix", check=False)
        pytest.exit(f"the chart could not be installed:\n{out}\n{pods}\n{logs}", returncode=1)
    return seconds
