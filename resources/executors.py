"""The Dagster executor of trainings: the run's own process, or one Kubernetes Job per step."""

from __future__ import annotations

from typing import Literal

import dagster as dg

STEP_WITHIN = 3600
"""Seconds after which Kubernetes ends a step."""
KEPT_FOR = 600
"""Seconds after which Kubernetes deletes the Job of a step that has ended."""


def steps_on(runs_on: Literal["processes", "kubernetes"]) -> dg.ExecutorDefinition | None:
    """Return the executor of the jobs bootstrap and retrain; None stands for the run's own process.

    On Kubernetes each of their steps is a Job with the resources of `resources.training` in the project's `defs.yaml`.
    Other jobs have no pods of their own per step, since starting a pod takes seconds. The run's pod owns the Jobs: they
    are deleted with it.
    """
    if runs_on == "processes":
        return None
    from dagster_k8s import k8s_job_executor

    return k8s_job_executor.configured(
        {
            "enable_owner_references": True,
            "step_k8s_config": {
                "job_spec_config": {
                    "active_deadline_seconds": STEP_WITHIN,
                    "ttl_seconds_after_finished": KEPT_FOR,
                    "backoff_limit": 0,
                }
            },
        }
    )
