"""Facts about trainings: started, ended, the versions they made, and their verdicts."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from mlops_assets.ledger.facts.base import Fact, RequestedBy

TrainingOutcome = Literal["JUDGED", "FAILED", "INTERRUPTED", "SKIPPED", "TRAINED"]
"""How a training ended.

JUDGED: with a verdict of the gate.
FAILED: its run failed.
INTERRUPTED: a server did not answer, the machine was stopped, or other work fell due first. It is tried again and does
    not count as a failed attempt.
SKIPPED: it was no longer needed when its run began.
TRAINED: by hand, up to a version without a verdict.
"""
Verdict = Literal["PROMOTE", "HOLD", "REJECT"]


class TrainingStarted(Fact):
    """A training began."""

    kind: Literal["training_started"] = "training_started"
    training: str
    """`<decision or cause>:<attempt>`."""
    decision: str | None
    """Id of the decision behind it, if there is one."""
    attempt: int
    by: RequestedBy
    run_id: str
    """Id of the Dagster run."""
    consumes: bool
    """Whether its verdict clears the active triggers and starts the cooldown; not so for a training by hand."""

    @property
    def key(self) -> str:
        return f"{self.training}:{self.run_id}"


class TrainingEnded(Fact):
    """A training ended. `at` is the `as_of` of its start."""

    kind: Literal["training_ended"] = "training_ended"
    training: str
    """`<decision or cause>:<attempt>`."""
    decision: str | None
    """Id of the decision behind it, if there is one."""
    attempt: int
    by: RequestedBy
    run_id: str
    """Id of the Dagster run."""
    outcome: TrainingOutcome
    as_of: AwareDatetime
    """The project's time at which its data were read."""
    reason: str = ""
    consumes: bool = True
    """Whether its verdict clears the active triggers and starts the cooldown."""
    final: bool = False
    """A FAILED attempt after which none is left: it clears the active triggers and starts the cooldown."""
    wall_time: AwareDatetime
    """When it ended by the wall clock: pauses between attempts are wall time."""

    @property
    def key(self) -> str:
        return f"{self.training}:{self.run_id}"


class VersionTrained(Fact):
    """A model version exists in the registry."""

    kind: Literal["version"] = "version"
    version: int
    training: str
    decision: str | None
    as_of: AwareDatetime
    """The project's time at which its data were read."""
    trained_through: AwareDatetime
    """End of the newest labelled row that it was trained on."""
    dataset: str
    """md5 of the training snapshot, by which DVC knows it."""
    dataset_tag: str
    """Git tag of the training snapshot."""
    mlflow_run: str
    digest: str
    """sha256 over the digests of all artifacts."""
    columns: list[str]
    """Input columns that the version needs: known columns and columns of past values."""
    holdout_loss: float
    metric: str | None = None
    """Metric of `holdout_loss`; None in facts of release 0.1.0 and earlier."""
    reference_rows: int
    """Number of rows in the drift reference that is stored with the version."""
    rows: int
    """Number of labelled rows in the training snapshot."""

    @property
    def key(self) -> str:
        return str(self.version)


class GateVerdict(Fact):
    """The gate's verdict on a candidate."""

    kind: Literal["verdict"] = "verdict"
    training: str
    by: RequestedBy
    verdict: Verdict
    reasons: list[str]
    version: int | None
    """The candidate; None when no version was registered."""
    champion: int | None
    """The version that the candidate was compared with; None when there was none."""
    champion_loss: float | None = None
    candidate_loss: float | None = None
    baseline_loss: float | None = None
    one_fit_loss: float | None = None
    shadow_loss: float | None = None
    """Loss of the shadow version on the same rows; None without a shadow."""
    interval: tuple[float, float] | None = None
    """Block-bootstrap interval (95 %) of champion loss - candidate loss."""
    rows: int = 0
    """Number of hold-out rows that were compared."""
    recomputed: int = 0
    """Number of rows for which the champion's prediction was recomputed from the recorded inputs."""
    forced: bool = False
    as_of: AwareDatetime
    run_id: str

    @property
    def key(self) -> str:
        return f"{self.training}:{self.version}:{self.run_id}"


class FeasibilityChecked(Fact):
    """The feasibility model was compared with the baseline."""

    kind: Literal["feasibility"] = "feasibility"
    feasible: bool
    forced: bool
    """A person continued although the model was not better than the baseline."""
    model_loss: float
    baseline_loss: float
    run_id: str

    @property
    def key(self) -> str:
        return self.run_id
