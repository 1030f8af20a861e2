"""What the ledger knows about one project, as an immutable view that answers the loop's questions."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from mlops_assets.ledger.facts import (
    AnyFact,
    ClockMoved,
    Collected,
    Decided,
    Decision,
    DeploymentPeriod,
    EventMissed,
    Fact,
    FeasibilityChecked,
    GateVerdict,
    PromotionStep,
    Reported,
    RetrainingHeld,
    Scored,
    Stage,
    TrainingEnded,
    TrainingStarted,
    VersionTrained,
    WindowLabelled,
    WindowPublished,
    WindowQuarantined,
)
from mlops_assets.spec.loop import Shadow

F = TypeVar("F", bound=Fact)


class LedgerView:
    """The facts of one project, in the order in which they were written.

    Args:
        project: its name.
        facts: everything that the ledger holds about it.
    """

    def __init__(self, project: str, facts: tuple[AnyFact, ...]) -> None:
        self.project = project
        self.facts = facts

    def of(self, kind: type[F]) -> list[F]:
        """All facts of one kind, oldest first."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    # Time and windows

    @cached_property
    def clock(self) -> datetime | None:
        """Where a replay clock was last moved to; None if it never was."""
        return max((fact.at for fact in self.of(ClockMoved)), default=None)

    @cached_property
    def published(self) -> dict[str, WindowPublished]:
        """The newest publication of each window; one that later reads badly stays published."""
        return {fact.window: fact for fact in self.of(WindowPublished)}

    def edition(self, kind: type[WindowPublished] | type[WindowLabelled], window: str, version: str) -> int:
        """Which edition of a window's rows or labels a version is: the newest one's again, or the next."""
        editions = [fact for fact in self.of(kind) if fact.window == window]
        if not editions:
            return 0
        newest = editions[-1]
        return newest.edition if newest.data_version == version else len(editions)

    @cached_property
    def labelled(self) -> dict[str, WindowLabelled]:
        """The newest labels of each window."""
        return {fact.window: fact for fact in self.of(WindowLabelled)}

    @cached_property
    def quarantined(self) -> dict[str, WindowQuarantined]:
        """The newest failed audit of each window whose rows, or whose labels, never passed."""
        passed: dict[str, Collection[str]] = {"raw_data": self.published, "labels": self.labelled}
        return {f.window: f for f in self.of(WindowQuarantined) if f.window not in passed[f.table]}

    @cached_property
    def repaired(self) -> set[str]:
        """Windows that had lain in quarantine before they were published."""
        rows = {fact.window for fact in self.of(WindowPublished) if fact.repaired}
        return rows | {fact.window for fact in self.of(WindowLabelled) if fact.repaired}

    # Answers

    @cached_property
    def scored_through(self) -> datetime | None:
        """Every event due by then was answered, missed, or is still asked for."""
        return max((fact.through for fact in self.of(Scored)), default=None)

    @cached_property
    def waiting(self) -> list[str]:
        """Ids of events that are asked for again at the next scoring."""
        scored = self.of(Scored)
        return list(scored[-1].waiting) if scored else []

    @cached_property
    def missed(self) -> dict[str, EventMissed]:
        """Events that nobody can answer any more, by id."""
        return {fact.event_id: fact for fact in self.of(EventMissed)}

    # Versions and deployment periods

    @cached_property
    def versions(self) -> dict[int, VersionTrained]:
        """All trained versions, by number."""
        return {fact.version: fact for fact in self.of(VersionTrained)}

    @cached_property
    def deployment_periods(self) -> list[DeploymentPeriod]:
        """All deployment periods, oldest first; the last one is open."""
        promoted = [fact for fact in self.of(PromotionStep) if fact.step == "PROMOTED"]
        ends = [*(fact.at for fact in promoted[1:]), None][: len(promoted)]
        return [
            DeploymentPeriod(
                number=i, version=fact.version, start=fact.at, end=end, cause=fact.cause, promotion=fact.promotion
            )
            for i, (fact, end) in enumerate(zip(promoted, ends, strict=True), start=1)
        ]

    @property
    def deployment_period(self) -> DeploymentPeriod | None:
        """The present deployment period; None before the first promotion."""
        return self.deployment_periods[-1] if self.deployment_periods else None

    def deployment_period_at(self, moment: datetime) -> DeploymentPeriod | None:
        """The deployment period in force just before a moment: a window's report is about the deployment period in force at its end.

        A version that takes over at the very end of a window did not answer a single event of it.
        """
        before = [
            deployment_period for deployment_period in self.deployment_periods if deployment_period.start < moment
        ]
        return before[-1] if before else None

    @property
    def first_version(self) -> int | None:
        """The first champion ever, which goes on in the shadow."""
        return self.deployment_periods[0].version if self.deployment_periods else None

    def previous_version(self) -> int | None:
        """The champion before the present one, another version than it."""
        return None if self.deployment_period is None else self.shadow_of(self.deployment_period, "previous")

    def shadow_of(self, deployment_period: DeploymentPeriod, shadow: Shadow) -> int | None:
        """The version that a deployment period is compared with: the first champion ever, or the one before it."""
        if shadow == "none":
            return None
        if shadow == "first":
            return self.first_version
        before = [
            r.version
            for r in self.deployment_periods
            if r.number < deployment_period.number and r.version != deployment_period.version
        ]
        return before[-1] if before else None

    def shadow_for(self, shadow: Shadow) -> int | None:
        """Which version predicts unseen beside the champion; None if nobody does, or the champion itself would."""
        wanted = None if self.deployment_period is None else self.shadow_of(self.deployment_period, shadow)
        return None if self.deployment_period is None or wanted == self.deployment_period.version else wanted

    @cached_property
    def open_promotion(self) -> PromotionStep | None:
        """A promotion that was begun and neither completed nor undone."""
        steps: dict[str, PromotionStep] = {}
        for fact in self.of(PromotionStep):
            steps[fact.promotion] = fact
        unfinished = [fact for fact in steps.values() if fact.step == "PROMOTING"]
        return unfinished[-1] if unfinished else None

    @cached_property
    def first_as_of(self) -> datetime | None:
        """Events count from the first promotion's `as_of`."""
        return self.versions[self.deployment_periods[0].version].as_of if self.deployment_periods else None

    # Reports

    @cached_property
    def _reports(self) -> dict[tuple[str, str, Stage], Reported]:
        return {(fact.report, fact.window, fact.stage): fact for fact in self.of(Reported)}

    def report(self, report: str, window: str, stage: Stage) -> Reported | None:
        """One report of one window at exactly one stage."""
        return self._reports.get((report, window, stage))

    def newest_report(self, report: str, window: str) -> Reported | None:
        """One report of one window at the latest stage there is."""
        return self.report(report, window, "labelled") or self.report(report, window, "ended")

    def missing_reports(self, window: str, stage: Stage) -> list[str]:
        """What must still be reported before a window is decided on; drift and health do not wait for labels."""
        found = {
            "drift": self.newest_report("drift", window),
            "performance": self.report("performance", window, stage),
            "health": self.newest_report("health", window),
        }
        return [kind for kind, report in found.items() if report is None]

    # Decisions and trainings

    @cached_property
    def decisions(self) -> list[Decision]:
        """All decisions, oldest first."""
        return [fact.decision for fact in self.of(Decided)]

    def decision(self, decision_id: str) -> Decision | None:
        """The decision of an id."""
        return next((decision for decision in self.decisions if decision.id == decision_id), None)

    def decision_for(self, window: str, stage: Stage) -> Decision | None:
        """What the policy decided for a window at a stage."""
        return next((d for d in self.decisions if d.window == window and d.stage == stage and d.by == "policy"), None)

    @cached_property
    def ended(self) -> list[TrainingEnded]:
        """All trainings that ended, oldest first."""
        return self.of(TrainingEnded)

    @cached_property
    def consuming(self) -> list[TrainingEnded]:
        """Trainings whose verdict, or whose last failure, consumed the evidence and started the cooldown."""
        return [fact for fact in self.ended if fact.consumes and (fact.outcome == "JUDGED" or fact.final)]

    def consumed_through(self, deployment_period: DeploymentPeriod) -> datetime | None:
        """`as_of` of the last training that consumed evidence of a deployment period."""
        within = [fact.as_of for fact in self.consuming if fact.as_of >= deployment_period.start]
        return max(within, default=None)

    @property
    def cooldown_from(self) -> datetime | None:
        """Where the cooldown starts: the last judged training, last failed attempt, or rollback."""
        moments = [fact.as_of for fact in self.consuming]
        moments += [
            deployment_period.start
            for deployment_period in self.deployment_periods
            if deployment_period.cause == "rollback"
        ]
        return max(moments, default=None)

    def attempts(self, decision: str) -> list[TrainingEnded]:
        """A decision's trainings without a verdict: failed, or interrupted by a server's absence."""
        unjudged = ("FAILED", "INTERRUPTED")
        return [fact for fact in self.ended if fact.decision == decision and fact.outcome in unjudged]

    def acted_on(self, decision: str) -> bool:
        """Whether a RETRAIN is settled: judged, skipped, failed for good, or its evidence consumed otherwise."""
        closed = [f for f in self.ended if f.decision == decision and (f.outcome in ("JUDGED", "SKIPPED") or f.final)]
        if closed:
            return True
        found = self.decision(decision)
        if found is None or (found.by == "person" and not found.evidence):
            return False
        deployment_period = self.deployment_period
        if deployment_period is None or found.deployment_period != deployment_period.number:
            return True
        consumed = self.consumed_through(deployment_period)
        return consumed is not None and consumed >= found.at

    @property
    def open_retrain(self) -> Decision | None:
        """The oldest RETRAIN that still waits for a training."""
        return next((d for d in self.decisions if d.outcome == "RETRAIN" and not self.acted_on(d.id)), None)

    @property
    def open_collect(self) -> Decision | None:
        """The oldest COLLECT of the present deployment period whose hook has not run."""
        done = {fact.decision for fact in self.of(Collected)}
        number = self.deployment_period.number if self.deployment_period else None
        return next(
            (
                d
                for d in self.decisions
                if d.outcome == "COLLECT" and d.deployment_period == number and d.id not in done
            ),
            None,
        )

    @property
    def held(self) -> bool:
        """Whether a person holds the policy's retrainings back."""
        return any(fact.held for fact in self.of(RetrainingHeld)[-1:])

    @cached_property
    def verdicts(self) -> list[GateVerdict]:
        """All verdicts of the gate, oldest first."""
        return self.of(GateVerdict)

    @cached_property
    def started(self) -> list[TrainingStarted]:
        """All trainings that got their slot, oldest first."""
        return self.of(TrainingStarted)

    @cached_property
    def feasibility(self) -> FeasibilityChecked | None:
        """The newest feasibility model."""
        found = self.of(FeasibilityChecked)
        return found[-1] if found else None
