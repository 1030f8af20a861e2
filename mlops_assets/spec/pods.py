"""What a project's pods may use, where runs and endpoints are pods of a Kubernetes cluster."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mlops_assets.spec.duration import SpecModel

UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
QUANTITY = r"^\d+(Ki|Mi|Gi|Ti)$"


class PodResources(SpecModel):
    """One kind of pod."""

    cpu: str = Field(pattern=r"^(\d+m|\d+(\.\d+)?)$")
    """Processors it is promised, as `500m` or `2`; it may use more where there are more."""
    memory: str = Field(pattern=QUANTITY)
    """Memory it is promised, and may not exceed, as `4Gi`."""

    @property
    def bytes(self) -> int:
        """Its memory in bytes."""
        return int(self.memory[:-2]) * UNITS[self.memory[-2:]]

    def as_container(self) -> dict[str, Any]:
        """As a container's `resources`."""
        return {"requests": {"cpu": self.cpu, "memory": self.memory}, "limits": {"memory": self.memory}}


class ResourcesSpec(SpecModel):
    """Resources on Kubernetes; without effect elsewhere."""

    training: PodResources | None = None
    """Of each heavy step of a bootstrap or retraining: feasibility, feature selection, training set, candidate."""
    endpoint: PodResources | None = None
    """Of the scoring service."""
