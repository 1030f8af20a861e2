"""What the Dagster definitions of a project have in common: names, keys, groups, partitions, owners, tags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import dagster as dg

from mlops_assets.code_version import code_version
from mlops_assets.errors import names_project
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, Window
from mlops_assets.timeline.partitions import partition_arguments, window_of_partition

Phase = Literal["business", "acquisition", "modeling", "deployment", "monitoring"]
Decorator = Callable[[Callable[..., Any]], dg.AssetsDefinition]
SERVICE = "mlops_assets.serving.app"
COMPUTED_IN_SERVICE = ("endpoint", "predictions")
"""Assets that change when the scoring service's code changes. Their functions do not import it."""
READ_FROM_SOURCE = ("raw_data", "labels", "history")
"""Assets that call the project's source function."""
HEAVY = ("feasibility", "feature_definitions", "training_set", "candidate_model")
"""Assets whose steps get the CPU and memory of `resources.training` on Kubernetes."""


@dataclass(frozen=True)
class Blueprint:
    """A project's spec, and the arguments of Dagster's definitions that follow from it."""

    spec: ProjectSpec

    @property
    def name(self) -> str:
        """The project's name."""
        return self.spec.name

    @cached_property
    def timeline(self) -> Timeline:
        """The project's windows and due times."""
        return Timeline(self.spec)

    @cached_property
    def windows(self) -> dg.TimeWindowPartitionsDefinition:
        """The project's windows as a Dagster partitions definition."""
        return dg.TimeWindowPartitionsDefinition(**partition_arguments(self.timeline))

    def key(self, name: str) -> dg.AssetKey:
        """Return the key of an asset of this project."""
        return dg.AssetKey([self.name, name])

    def job(self, name: str) -> str:
        """Return the full name of a job or sensor of this project."""
        return f"{self.name}_{name}"

    def asset(self, phase: Phase, name: str, *, deps: list[str], windows: bool = False, **more: Any) -> Decorator:
        """Return a decorator that makes a function an asset of this project.

        Args:
            phase: the phase, which names the asset's group.
            name: the asset's name; its key is the project's name and this one.
            deps: names of the assets that it depends on.
            windows: whether it is partitioned by window. One run may then materialize several windows.
            more: further arguments of `dagster.asset`; they take precedence.
        """
        arguments: dict[str, Any] = {
            "key": self.key(name),
            "deps": [self._dep(dep, windows) for dep in deps],
            "group_name": f"{self.name}_{phase}",
            "owners": self.spec.owners or None,
            "tags": {"phase": phase, "project": self.name},
        }
        if name in HEAVY and self.spec.resources.training is not None:
            container = {"container_config": {"resources": self.spec.resources.training.as_container()}}
            arguments["op_tags"] = {"dagster-k8s/config": container}
        if windows:
            arguments["partitions_def"] = self.windows
            arguments["backfill_policy"] = dg.BackfillPolicy.single_run()

        def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
            version = code_version(function, self._modules_behind(name))
            make: Decorator = dg.asset(code_version=version, **{**arguments, **more})
            return make(names_project(self.name)(function))

        return decorate

    def _modules_behind(self, asset: str) -> list[str]:
        """Return the modules that compute an asset and that its function does not import."""
        source = [self.spec.data.source.rpartition(".")[0]] if asset in READ_FROM_SOURCE else []
        return [*source, *([SERVICE] if asset in COMPUTED_IN_SERVICE else [])]

    def _dep(self, name: str, windows: bool) -> dg.AssetDep:
        if name in WINDOWED and not windows:
            return dg.AssetDep(self.key(name), partition_mapping=dg.AllPartitionMapping())
        return dg.AssetDep(self.key(name))

    @property
    def sensor_status(self) -> dg.DefaultSensorStatus:
        """The initial status of sensors: running. Each can be switched off in the UI."""
        return dg.DefaultSensorStatus.RUNNING

    def checks_of(self, asset: str) -> list[dg.AssetCheckKey]:
        """Return the keys of an asset's checks."""
        return [dg.AssetCheckKey(self.key(asset), check) for check in CHECKS.get(asset, [])]

    def windows_of(self, context: dg.AssetExecutionContext) -> list[Window]:
        """Return the windows that a run materializes, oldest first."""
        return sorted(window_of_partition(self.timeline, key) for key in context.partition_keys)

    def check(self, asset: str, name: str, description: str, *, blocking: bool = False) -> dg.AssetCheckSpec:
        """Return the spec of an asset check of this project."""
        return dg.AssetCheckSpec(name, asset=self.key(asset), description=description, blocking=blocking)


CHECKS = {
    "feasibility": ["feasible"],
    "labels": ["labels_schema"],
    "raw_data": ["schema", "volume", "duplicates", "gaps"],
    "dataset": ["representative"],
    "endpoint": ["serves"],
    "predictions": ["complete"],
    "drift_report": ["data_drift", "prediction_drift"],
    "performance_report": ["degradation"],
    "service_health": ["available", "latency"],
}
"""Names of the checks of each asset."""
WINDOWED = {
    "raw_data",
    "labels",
    "predictions",
    "drift_report",
    "performance_report",
    "service_health",
    "retraining_decision",
}
"""Names of the assets that are partitioned by window."""
