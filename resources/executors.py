"""What executes the steps of a training: the run's own process, or a Kubernetes Job each."""

from __future__ import annotations

from typing import Literal

import dagster as dg

STEP_WITHIN = 3600
"""Seconds after which Kubernetes ends a step that nobody ended."""
KEPT_FOR = 600
"""Seconds that the Job of a step that ended can still be looked at."""


def steps_on(runs_on: Literal["processes", "kubernetes"]) -> dg.ExecutorDefinition | None:
    """The executor of bootstraps and retrainings; None: the run's own process.

    A pod costs seconds, so that only these have a Job for each step, with `resources.training` of the project's YAML.
    A Job belongs to its run's pod: when that is deleted, so is the Job.
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
