"""`resources`: requests and limits of a project's pods on Kubernetes."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mlops_assets.spec.duration import SpecModel

UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
QUANTITY = r"^\d+(Ki|Mi|Gi|Ti)$"


class PodResources(SpecModel):
    """Requests and limits of one kind of pod."""

    cpu: str = Field(pattern=r"^(\d+m|\d+(\.\d+)?)$")
    """Requested processors, for example `500m` or `2`. There is no limit."""
    memory: str = Field(pattern=QUANTITY)
    """Requested memory, which is also the limit, for example `4Gi`."""

    @property
    def bytes(self) -> int:
        """The memory in bytes."""
        return int(self.memory[:-2]) * UNITS[self.memory[-2:]]

    def as_container(self) -> dict[str, Any]:
        """Return the `resources` of a container."""
        return {"requests": {"cpu": self.cpu, "memory": self.memory}, "limits": {"memory": self.memory}}


class ResourcesSpec(SpecModel):
    """Requests and limits of pods on Kubernetes. Without effect elsewhere."""

    training: PodResources | None = None
    """For each heavy step of a training: feasibility, feature selection, training set, candidate."""
    endpoint: PodResources | None = None
    """For the scoring service."""
