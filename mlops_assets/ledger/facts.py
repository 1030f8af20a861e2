"""What the ledger holds: typed, immutable facts. All times are project time, aware UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from mlops_assets.ledger.summaries import DriftSummary, HealthSummary, PerformanceSummary, Record, Summary

Stage = Literal["ended", "labelled"]
Outcome = Literal["RETRAIN", "WAIT", "COLLECT"]
Verdict = Literal["PROMOTE", "HOLD", "REJECT"]


class Fact(Record):
    """Base of all ledger entries; `key` makes writing a fact twice leave one."""

    kind: str
    at: AwareDatetime
    """The project's time when it became true."""

    @property
    def key(self) -> str:
        """What tells this fact from others of its kind."""
        raise NotImplementedError


class ClockMoved(Fact):
    """A replay clock was moved to `at`."""

    kind: Literal["clock"] = "clock"

    @property
    def key(self) -> str:
        return self.at.isoformat()


class WindowPublished(Fact):
    """A window passed its audit and can be read."""

    kind: Literal["published"] = "published"
    window: str
    data_version: str
    """md5 of the published rows."""
    rows: int
    gaps: int = 0
    repaired: bool = False
    """It had been quarantined before."""
    correction: bool = False
    """It had been published before, with other rows."""
    edition: int = 0
    """How often the window's rows had changed before; it may go back to those that it once had."""

    @property
    def key(self) -> str:
        return f"{self.window}:{self.data_version}{f':{self.edition}' if self.edition else ''}"


class WindowQuarantined(Fact):
    """Rows or labels of a window failed their audit; nobody reads the window until they pass."""

    kind: Literal["quarantined"] = "quarantined"
    window: str
    table: Literal["raw_data", "labels"] = "raw_data"
    data_version: str
    reasons: list[str]

    @property
    def key(self) -> str:
        return f"{self.table}:{self.window}:{self.at.isoformat()}"


class WindowLabelled(Fact):
    """A window's targets are known and published."""

    kind: Literal["labelled"] = "labelled"
    window: str
    data_version: str
    rows: int
    repaired: bool = False
    """They had been quarantined before."""
    edition: int = 0

    @property
    def key(self) -> str:
        return f"{self.window}:{self.data_version}{f':{self.edition}' if self.edition else ''}"


class Scored(Fact):
    """The scorer went through the events due in (after, through]."""

    kind: Literal["scored"] = "scored"
    after: AwareDatetime
    through: AwareDatetime
    answered: int
    late: int
    missed: int
    waiting: list[str] = []
    """Ids of events that could not be answered yet and are asked for again."""

    @property
    def key(self) -> str:
        return f"{self.through.isoformat()}:{self.at.isoformat()}:{len(self.waiting)}"


class EventMissed(Fact):
    """An event that nobody can answer any more, for good."""

    kind: Literal["missed"] = "missed"
    event_id: str
    entity: str | None
    event_time: AwareDatetime
    due: AwareDatetime
    reason: str

    @property
    def key(self) -> str:
        return self.event_id


class Reported(Fact):
    """One report of one window at one stage."""

    kind: Literal["report"] = "report"
    report: Literal["drift", "performance", "health"]
    window: str
    stage: Stage
    deployment_period: int = Field(alias="reign")
    version: int
    summary: dict[str, Any]
    """A `DriftSummary`, `PerformanceSummary` or `HealthSummary`, as `report` says."""
    inputs: dict[str, str]
    """Data version of each window that was read."""
    repaired: bool = False

    SUMMARIES: ClassVar[dict[str, type[DriftSummary] | type[PerformanceSummary] | type[HealthSummary]]] = {
        "drift": DriftSummary,
        "performance": PerformanceSummary,
        "health": HealthSummary,
    }

    @property
    def key(self) -> str:
        return f"{self.report}:{self.window}:{self.stage}"

    @property
    def typed(self) -> Summary:
        """The summary as its own type."""
        return self.SUMMARIES[self.report].model_validate(self.summary)


class Evidence(Record):
    """Why a retraining is asked for: a deployment period, a signal and the first window of its breach; the rest is payload."""

    deployment_period: int = Field(alias="reign")
    signal: str
    window: str
    value: float
    threshold: float
    sentence: str

    @property
    def identity(self) -> str:
        """What makes two pieces of evidence the same."""
        return f"{self.deployment_period}:{self.signal}:{self.window}"


class Guard(Record):
    """One condition that can hold a retraining back."""

    name: Literal["held_back", "cooldown", "budget", "min_new_rows", "warm_up", "in_progress"]
    passed: bool
    detail: str


class Decision(Record):
    """What was decided for one window at one stage, and why."""

    id: str
    project: str
    deployment_period: int = Field(alias="reign")
    outcome: Outcome
    window: str | None
    """None for a person's request."""
    stage: Stage | None
    at: AwareDatetime
    reason: str
    """One sentence that a person understands."""
    evidence: list[Evidence] = []
    guards: list[Guard] = []
    by: Literal["policy", "person"] = "policy"
    in_progress: str | None = None
    """Id of the RETRAIN that already acts on this evidence."""


class Decided(Fact):
    """A decision was made."""

    kind: Literal["decision"] = "decision"
    decision: Decision

    @property
    def key(self) -> str:
        return self.decision.id


class TrainingStarted(Fact):
    """A training got its slot."""

    kind: Literal["training_started"] = "training_started"
    training: str
    """`<decision or cause>:<attempt>`."""
    decision: str | None
    attempt: int
    by: Literal["policy", "person", "bootstrap", "hand"]
    run_id: str
    consumes: bool
    """Whether its verdict consumes evidence (not so for a training by hand)."""

    @property
    def key(self) -> str:
        return f"{self.training}:{self.run_id}"


class TrainingEnded(Fact):
    """A training ended; `as_of` of the start is its `at`."""

    kind: Literal["training_ended"] = "training_ended"
    training: str
    decision: str | None
    attempt: int
    by: Literal["policy", "person", "bootstrap", "hand"]
    run_id: str
    outcome: Literal["JUDGED", "FAILED", "INTERRUPTED", "SKIPPED", "TRAINED"]
    """INTERRUPTED: a server did not answer; the training is tried again, and the attempt counts for nothing."""
    as_of: AwareDatetime
    reason: str = ""
    consumes: bool = True
    final: bool = False
    """A FAILED attempt after which none is left: it consumes the evidence and starts the cooldown."""
    wall_time: AwareDatetime
    """When it ended on the wall's clock: pauses between attempts are wall time."""

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
    trained_through: AwareDatetime
    dataset: str
    """md5 that DVC knows the training snapshot by."""
    dataset_tag: str
    mlflow_run: str
    digest: str
    """sha256 over the digests of all artifacts."""
    columns: list[str]
    """Input columns, known and history, that the version needs."""
    holdout_loss: float
    metric: str | None = None
    """That loss's; facts of an earlier release do not say."""
    reference_rows: int
    rows: int
    """Labelled rows of its dataset."""

    @property
    def key(self) -> str:
        return str(self.version)


class GateVerdict(Fact):
    """The gate's verdict on a candidate."""

    kind: Literal["verdict"] = "verdict"
    training: str
    by: Literal["policy", "person", "bootstrap", "hand"]
    verdict: Verdict
    reasons: list[str]
    version: int | None
    champion: int | None
    champion_loss: float | None = None
    candidate_loss: float | None = None
    baseline_loss: float | None = None
    one_fit_loss: float | None = None
    shadow_loss: float | None = None
    """Of the version that goes on predicting in the shadow, on the same rows; None where nobody does."""
    interval: tuple[float, float] | None = None
    """Block-bootstrap interval (95 %) of champion loss - candidate loss."""
    rows: int = 0
    recomputed: int = 0
    """For how many rows the champion's answer was recomputed from the recorded inputs."""
    forced: bool = False
    as_of: AwareDatetime
    run_id: str

    @property
    def key(self) -> str:
        return f"{self.training}:{self.version}:{self.run_id}"


class PromotionStep(Fact):
    """One arrow of a promotion or a rollback."""

    kind: Literal["promotion"] = "promotion"
    promotion: str
    """Id, the same for all steps of one promotion."""
    step: Literal["PROMOTING", "PROMOTED", "UNDONE"]
    version: int
    previous: int | None
    cause: Literal["bootstrap", "retraining", "rollback", "hand"]
    training: str | None = None
    decision: str | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        return f"{self.promotion}:{self.step}"


class Collected(Fact):
    """The project's `collect` hook ran for a COLLECT decision."""

    kind: Literal["collected"] = "collected"
    decision: str
    detail: str

    @property
    def key(self) -> str:
        return self.decision


class RetrainingHeld(Fact):
    """A person holds the policy's retrainings back, or releases them."""

    kind: Literal["held"] = "held"
    held: bool
    number: int
    """Counts such facts of a project from 0."""

    @property
    def key(self) -> str:
        return str(self.number)


class FeasibilityChecked(Fact):
    """The feasibility model's outcome, and whether a person forced the project on."""

    kind: Literal["feasibility"] = "feasibility"
    feasible: bool
    forced: bool
    model_loss: float
    baseline_loss: float
    run_id: str

    @property
    def key(self) -> str:
        return self.run_id


AnyFact = Annotated[
    ClockMoved
    | WindowPublished
    | WindowQuarantined
    | WindowLabelled
    | Scored
    | EventMissed
    | Reported
    | Decided
    | TrainingStarted
    | TrainingEnded
    | VersionTrained
    | GateVerdict
    | PromotionStep
    | Collected
    | RetrainingHeld
    | FeasibilityChecked,
    Field(discriminator="kind"),
]
FACTS: TypeAdapter[AnyFact] = TypeAdapter(AnyFact)


class DeploymentPeriod(Record):
    """A version's time as champion; a rollback begins a new one."""

    number: int
    """1 for the first."""
    version: int
    start: datetime
    end: datetime | None
    cause: Literal["bootstrap", "retraining", "rollback", "hand"]
    promotion: str
