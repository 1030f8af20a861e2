"""A view of the facts of one project: windows, events, deployment periods, reports, decisions, trainings."""

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
from mlops_assets.spec.serving import ShadowChoice

F = TypeVar("F", bound=Fact)


class LedgerView:
    """The facts of one project at one moment. It is immutable: a later fact is in a later view.

    Args:
        project: the project's name.
        facts: all facts of the project, in the order in which they were written.
    """

    def __init__(self, project: str, facts: tuple[AnyFact, ...]) -> None:
        self.project = project
        self.facts = facts

    def of(self, kind: type[F]) -> list[F]:
        """Return all facts of one kind, oldest first."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    # Time and windows

    @cached_property
    def clock(self) -> datetime | None:
        """The time to which a replay clock was last moved; None when it was never moved."""
        return max((fact.at for fact in self.of(ClockMoved)), default=None)

    @cached_property
    def published(self) -> dict[str, WindowPublished]:
        """The newest publication of each window, by id. A later version that fails its audit does not change it."""
        return {fact.window: fact for fact in self.of(WindowPublished)}

    def edition(self, kind: type[WindowPublished] | type[WindowLabelled], window: str, version: str) -> int:
        """Return the edition number of a version of a window's rows or labels.

        It is the newest edition's number when the version is the newest one's, else the next number.
        """
        editions = [fact for fact in self.of(kind) if fact.window == window]
        if not editions:
            return 0
        newest = editions[-1]
        return newest.edition if newest.data_version == version else len(editions)

    @cached_property
    def labelled(self) -> dict[str, WindowLabelled]:
        """The newest labels of each window, by window id."""
        return {fact.window: fact for fact in self.of(WindowLabelled)}

    @cached_property
    def quarantined(self) -> dict[str, WindowQuarantined]:
        """The newest failed audit of each window whose rows or labels have never passed, by window id."""
        passed: dict[str, Collection[str]] = {"raw_data": self.published, "labels": self.labelled}
        return {f.window: f for f in self.of(WindowQuarantined) if f.window not in passed[f.table]}

    @cached_property
    def repaired(self) -> set[str]:
        """Ids of windows whose rows or labels were quarantined before they were published."""
        rows = {fact.window for fact in self.of(WindowPublished) if fact.repaired}
        return rows | {fact.window for fact in self.of(WindowLabelled) if fact.repaired}

    # Events

    @cached_property
    def scored_through(self) -> datetime | None:
        """Every event that was due by then is predicted, missed or waiting; None before the first scoring."""
        return max((fact.through for fact in self.of(Scored)), default=None)

    @cached_property
    def waiting(self) -> list[str]:
        """Ids of events without a prediction that the next scoring tries again."""
        scored = self.of(Scored)
        return list(scored[-1].waiting) if scored else []

    @cached_property
    def missed(self) -> dict[str, EventMissed]:
        """Events that have no prediction and will not get one, by id."""
        return {fact.event_id: fact for fact in self.of(EventMissed)}

    # Versions and deployment periods

    @cached_property
    def versions(self) -> dict[int, VersionTrained]:
        """All registered versions, by number."""
        return {fact.version: fact for fact in self.of(VersionTrained)}

    @cached_property
    def deployment_periods(self) -> list[DeploymentPeriod]:
        """All deployment periods, oldest first; the last one has no end yet."""
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
        """Return the deployment period just before a moment; None before the first one.

        A window's report is about the period that this returns for the window's end: a version that is promoted exactly
        at that end predicted no event of the window.
        """
        before = [period for period in self.deployment_periods if period.start < moment]
        return before[-1] if before else None

    @property
    def first_version(self) -> int | None:
        """The version of the first champion; None before the first promotion."""
        return self.deployment_periods[0].version if self.deployment_periods else None

    def previous_version(self) -> int | None:
        """Return the last champion that was another version than the present one; None without one."""
        return None if self.deployment_period is None else self.shadow_of(self.deployment_period, "previous")

    def shadow_of(self, period: DeploymentPeriod, choice: ShadowChoice) -> int | None:
        """Return the version that a deployment period is compared with, by the project's choice; None without one."""
        if choice == "none":
            return None
        if choice == "first":
            return self.first_version
        before = [
            other.version
            for other in self.deployment_periods
            if other.number < period.number and other.version != period.version
        ]
        return before[-1] if before else None

    def shadow_for(self, choice: ShadowChoice) -> int | None:
        """Return the version that should predict in shadow now; None without one, or when it is the champion."""
        if self.deployment_period is None:
            return None
        version = self.shadow_of(self.deployment_period, choice)
        return None if version == self.deployment_period.version else version

    @cached_property
    def open_promotion(self) -> PromotionStep | None:
        """The newest promotion that was begun and neither completed nor undone; None without one."""
        steps: dict[str, PromotionStep] = {}
        for fact in self.of(PromotionStep):
            steps[fact.promotion] = fact
        unfinished = [fact for fact in steps.values() if fact.step == "PROMOTING"]
        return unfinished[-1] if unfinished else None

    @cached_property
    def first_as_of(self) -> datetime | None:
        """`as_of` of the first champion; events that were due earlier are not counted. None without a champion."""
        return self.versions[self.deployment_periods[0].version].as_of if self.deployment_periods else None

    # Reports

    @cached_property
    def _reports(self) -> dict[tuple[str, str, Stage], Reported]:
        return {(fact.report, fact.window, fact.stage): fact for fact in self.of(Reported)}

    def report(self, report: str, window: str, stage: Stage) -> Reported | None:
        """Return one report of one window at one stage; None without one."""
        return self._reports.get((report, window, stage))

    def newest_report(self, report: str, window: str) -> Reported | None:
        """Return one report of one window at its latest stage; None without one."""
        return self.report(report, window, "labelled") or self.report(report, window, "ended")

    def missing_reports(self, window: str, stage: Stage) -> list[str]:
        """Return the reports that a decision on a window still lacks. Drift and health do not need labels."""
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
        """Return the decision with an id; None without one."""
        return next((decision for decision in self.decisions if decision.id == decision_id), None)

    def decision_for(self, window: str, stage: Stage) -> Decision | None:
        """Return the policy's decision for a window at a stage; None without one."""
        return next((d for d in self.decisions if d.window == window and d.stage == stage and d.by == "policy"), None)

    @cached_property
    def ended_trainings(self) -> list[TrainingEnded]:
        """All trainings that ended, oldest first."""
        return self.of(TrainingEnded)

    @cached_property
    def consuming_trainings(self) -> list[TrainingEnded]:
        """Trainings with a verdict or a final failure that cleared the active triggers, oldest first."""
        return [fact for fact in self.ended_trainings if fact.consumes and (fact.outcome == "JUDGED" or fact.final)]

    def consumed_through(self, period: DeploymentPeriod) -> datetime | None:
        """Return `as_of` of the last training that cleared the active triggers of a deployment period."""
        within = [fact.as_of for fact in self.consuming_trainings if fact.as_of >= period.start]
        return max(within, default=None)

    @property
    def cooldown_from(self) -> datetime | None:
        """Start of the cooldown: the last rollback, or `as_of` of the last training that cleared active triggers."""
        moments = [fact.as_of for fact in self.consuming_trainings]
        moments += [period.start for period in self.deployment_periods if period.cause == "rollback"]
        return max(moments, default=None)

    def is_closed(self, decision_id: str) -> bool:
        """Return whether a RETRAIN needs no further training.

        It is closed by a verdict, by being skipped, by a final failure, by the end of its deployment period, or by
        another training that cleared the active triggers since.
        """
        ends = [fact for fact in self.ended_trainings if fact.decision == decision_id]
        if any(fact.outcome in ("JUDGED", "SKIPPED") or fact.final for fact in ends):
            return True
        decision = self.decision(decision_id)
        if decision is None or (decision.by == "person" and not decision.evidence):
            return False
        period = self.deployment_period
        if period is None or decision.deployment_period != period.number:
            return True
        consumed = self.consumed_through(period)
        return consumed is not None and consumed >= decision.at

    @property
    def open_retrain(self) -> Decision | None:
        """The oldest RETRAIN that needs a training; None without one."""
        return next((d for d in self.decisions if d.outcome == "RETRAIN" and not self.is_closed(d.id)), None)

    @property
    def open_collect(self) -> Decision | None:
        """The oldest COLLECT of the present deployment period whose hook has not run; None without one."""
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
    def started_trainings(self) -> list[TrainingStarted]:
        """All trainings that began, oldest first."""
        return self.of(TrainingStarted)

    @cached_property
    def feasibility(self) -> FeasibilityChecked | None:
        """The newest result of the feasibility model; None without one."""
        found = self.of(FeasibilityChecked)
        return found[-1] if found else None
