"""The MLflow run of a Dagster run, through dagster-mlflow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

import dagster as dg

from mlops_assets.resources.tracking.registry import Registry


@contextmanager
def mlflow_run(registry: Registry, dagster_run: dg.DagsterRun, log: dg.DagsterLogManager) -> Iterator[None]:
    """Start or resume the MLflow run of a Dagster run, and make it the active run in the block.

    All steps of a Dagster run share one MLflow run, in the project's experiment. The sensor `run_status` sets its final
    status. dagster-mlflow imports MLflow when it is itself imported, so it is imported here and not when a code
    location loads.

    Args:
        registry: the project's registry.
        dagster_run: the Dagster run. Its tag `decision` becomes a tag of the MLflow run.
        log: receives the messages of dagster-mlflow.

    Raises:
        RegistryError: MLflow refuses.
        RegistryUnreachable: MLflow does not answer.
    """
    experiment = registry.ensure_experiment()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        from dagster_mlflow.resources import MlFlow
    decision = dagster_run.tags.get("decision")
    config = {
        "experiment_name": experiment,
        "mlflow_tracking_uri": registry.uri,
        "env": {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"},
        "extra_tags": {"project": registry.project} | ({"decision": decision} if decision else {}),
    }
    with registry.connect("start a run"), warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        handle = cast(_StartRun, MlFlow)(_RunContext(log, dagster_run, dagster_run.run_id, config))
    try:
        yield
    except BaseException:
        with suppress(Exception):
            # an MLflow that does not answer must not hide the error; `run_status` ends the run
            handle.cleanup_on_error()
        raise
    with registry.connect("end a run"):
        handle.end_run()


@dataclass(frozen=True)
class _RunContext:
    """The part of an `InitResourceContext` that dagster-mlflow reads."""

    log: dg.DagsterLogManager
    dagster_run: dg.DagsterRun
    run_id: str
    resource_config: dict[str, Any]


class _ActiveRun(Protocol):
    """The methods used of dagster-mlflow's `MlFlow`, which has no types."""

    def cleanup_on_error(self) -> None:
        """End the run as failed."""

    def end_run(self) -> None:
        """End the run as finished."""


class _StartRun(Protocol):
    """`MlFlow`'s constructor."""

    def __call__(self, context: _RunContext) -> _ActiveRun:
        """Start or resume the MLflow run of a Dagster run."""
