"""The evidence of a deployment period: breaches of the policy's conditions. All functions are pure.

Evidence stays active until a training with a verdict, or with a final failure, consumes it. Each condition is evaluated
on every prefix of the period's windows, oldest first, and the first prefix in breach gives the evidence. So evidence
needs no memory: a breach that has passed since is found again at the same window. This also holds for a member of `all`
that no decision has recorded, because other members were missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field, FiniteFloat

from mlops_assets.errors import Refused
from mlops_assets.ledger.facts import Evidence, Stage
from mlops_assets.ledger.frozen import FrozenModel
from mlops_assets.retraining.wording import DAY, Leaf, condition, days, drift_breach, performance_breach
from mlops_assets.spec.policies import AgePolicy, AllPolicy, AnyPolicy, DriftPolicy, PerformancePolicy, Policy, leaves
from mlops_assets.spec.retraining import RetrainingSpec
from mlops_assets.timeline import iso, parse

Loss = Annotated[FiniteFloat, Field(ge=0)]


class WindowEvidence(FrozenModel):
    """The numbers of one window of a deployment period, from its newest reports."""

    window: str
    end: AwareDatetime
    stage: Stage
    too_few_rows: bool
    """Whether the period's version made fewer than `monitoring.min_rows` predictions in the window. Such a window
    neither continues nor ends a breach."""
    rows: int
    """Number of labelled predictions of the period's version."""
    loss: Loss | None
    """Loss of these predictions; None while labels are missing, or with too few rows."""
    prediction_drift: dict[str, FiniteFloat]
    """Distance of the predictions to the reference, by statistic."""
    data_drift_share: FiniteFloat | None
    """Share of drifted columns, from 0 to 1; None when nothing was compared."""


class DeploymentPeriodFacts(FrozenModel):
    """The deployment period that is decided on, and its version."""

    number: int
    version: int
    start: AwareDatetime
    version_as_of: AwareDatetime
    """The project's time at which the version's training data were read."""
    holdout_loss: Loss | None
    """None when it was measured by another metric than the YAML names now."""
    first_losses: list[Loss] | None
    """After a rollback: losses of the first windows in the version's first deployment period, oldest first.
    Otherwise None."""


class LoopState(FrozenModel):
    """The state of the loop that a policy depends on, in addition to the reports."""

    project: str
    deployment_period: DeploymentPeriodFacts
    consumed_through: AwareDatetime | None
    """`as_of` of the last training in this deployment period that consumed evidence."""
    cooldown_from: AwareDatetime | None
    """Start of the cooldown: `as_of` of the last training with a verdict or a final failure, or the time of the last
    rollback, in any deployment period."""
    trainings: list[AwareDatetime]
    """`as_of` of each training that counts against the budget; failed ones count."""
    recorded: list[Evidence]
    """Evidence that earlier decisions recorded and that is not consumed, oldest first."""
    in_progress: str | None
    """Id of the RETRAIN that acts on the active evidence; None without one."""
    collected: list[str]
    """Ids of the recorded COLLECT decisions."""
    new_rows: int
    """Number of labelled rows since the champion's training."""
    held: bool = False
    """A person holds the policy's retrainings back."""
    zone: str = "UTC"
    """`data.time_zone`: texts contain local dates."""


class SignalRow(FrozenModel):
    """One condition of the policy with its present value: a row of the decision's table."""

    signal: str
    condition: str
    """When the condition is in breach, in words."""
    value: float | None
    """The present value: a loss, a distance, a share from 0 to 1, or days; None while there is none."""
    threshold: float | None
    since: str | None
    """Id of the first window of the active evidence; None without evidence."""
    note: str
    """What is missing for a breach, or why there is no value; empty when nothing is."""


@dataclass(frozen=True)
class Reading:
    """The value of a condition on one prefix of the windows.

    Attributes:
        value: a loss, a distance, a share from 0 to 1, or days.
        threshold: the limit, in the same unit.
        breach: id of the first window of the breach; None without one.
        sentence: the breach in words; empty without one.
        note: what is missing for a breach.
    """

    value: float
    threshold: float
    breach: str | None
    sentence: str
    note: str = ""


def find_evidence(
    policy: RetrainingSpec, windows: Sequence[WindowEvidence], state: LoopState, now: datetime
) -> list[Evidence]:
    """Return all active evidence, in the policy's order: recorded by earlier decisions, or found now.

    Args:
        policy: the project's `retraining`.
        windows: one entry per window of the deployment period, in any order, each at its latest stage.
        state: the state of the loop.
        now: the project's time.

    Raises:
        Refused: a window has not ended by `now`.
    """
    return Signals(policy, windows, state, now).evidence()


def signal_table(
    policy: RetrainingSpec, windows: Sequence[WindowEvidence], state: LoopState, now: datetime
) -> list[SignalRow]:
    """Return every condition of the policy with its threshold and present value.

    Args:
        policy: the project's `retraining`.
        windows: one entry per window of the deployment period, in any order, each at its latest stage.
        state: the state of the loop.
        now: the project's time.

    Raises:
        Refused: a window has not ended by `now`.
    """
    return Signals(policy, windows, state, now).table()


def signal_names(policy: Policy) -> dict[Leaf, str]:
    """Return the name of each condition: its signal, numbered when several conditions share one (`age`, `age#2`).

    Evidence is recorded by name. Without the number, evidence of the milder of two performance conditions would count
    for both.
    """
    seen: Counter[str] = Counter()
    names: dict[Leaf, str] = {}
    for leaf in leaves(policy):
        if leaf not in names:
            seen[leaf.signal] += 1
            names[leaf] = leaf.signal if seen[leaf.signal] == 1 else f"{leaf.signal}#{seen[leaf.signal]}"
    return names


class Signals:
    """The policy's conditions, evaluated on the windows of a deployment period.

    Args:
        policy: the project's `retraining`.
        windows: one entry per window of the deployment period, in any order, each at its latest stage.
        state: the state of the loop.
        now: the project's time.

    Raises:
        Refused: a window has not ended by `now`.
    """

    def __init__(
        self, policy: RetrainingSpec, windows: Sequence[WindowEvidence], state: LoopState, now: datetime
    ) -> None:
        self.policy, self.state, self.now = policy, state, now
        self.windows = sorted(windows, key=lambda window: window.end)
        if self.windows and self.windows[-1].end > now:
            raise Refused(
                state.project,
                f"window {self.windows[-1].window}",
                f"it ends at {iso(self.windows[-1].end)}, and the decision is made at {iso(now)}",
                "decide on windows that have ended",
            )
        self.names = signal_names(policy.when)
        self.readings = {leaf: self._read(leaf) for leaf in self.names}
        self.active = self._active()

    def leaf_rows(self) -> list[tuple[Leaf, SignalRow]]:
        """Return each condition together with its row."""
        return [(leaf, self._row(leaf)) for leaf in self.names]

    def evidence(self) -> list[Evidence]:
        """Return the active evidence that fulfils the policy as a whole; empty when it is not fulfilled."""
        return list({evidence.identity: evidence for evidence in self._fulfilling(self.policy.when)}.values())

    def table(self) -> list[SignalRow]:
        """Return a row for each condition, in the policy's order."""
        return [self._row(leaf) for leaf in self.names]

    def _fulfilling(self, policy: Policy) -> list[Evidence]:
        if isinstance(policy, AnyPolicy | AllPolicy):
            members = [self._fulfilling(member) for member in policy.of]
            if isinstance(policy, AllPolicy) and not all(members):
                return []
            return [evidence for member in members for evidence in member]
        return [self.active[policy]] if policy in self.active else []

    def _active(self) -> dict[Leaf, Evidence]:
        found: dict[Leaf, Evidence] = {}
        for leaf, name in self.names.items():
            recorded = [evidence for evidence in self.state.recorded if self._is_active(evidence, name)]
            evidence = recorded[0] if recorded else self._breach(leaf)
            if evidence is not None:
                found[leaf] = evidence
        return found

    def _is_active(self, evidence: Evidence, name: str) -> bool:
        """Return whether recorded evidence is still active.

        A decision that is made while a training runs can record evidence which that training then consumes. So the end
        of the evidence's window decides, not the time of the decision.
        """
        ends = {window.window: window.end for window in self.windows}
        end = ends.get(evidence.window)
        consumed = end is not None and not self._unconsumed(end)
        return (
            evidence.deployment_period == self.state.deployment_period.number
            and evidence.signal == name
            and not consumed
        )

    def _breach(self, leaf: Leaf) -> Evidence | None:
        for reading in self.readings[leaf]:
            if reading.breach is not None:
                return Evidence(
                    deployment_period=self.state.deployment_period.number,
                    signal=self.names[leaf],
                    window=reading.breach,
                    value=reading.value,
                    threshold=reading.threshold,
                    sentence=reading.sentence,
                )
        return None

    def _row(self, leaf: Leaf) -> SignalRow:
        newest = self.readings[leaf][-1] if self.readings[leaf] else None
        return SignalRow(
            signal=self.names[leaf],
            condition=condition(leaf),
            value=newest.value if newest else None,
            threshold=newest.threshold if newest else self._threshold_without_value(leaf),
            since=self.active[leaf].window if leaf in self.active else None,
            note=newest.note if newest else self._why_no_reading(leaf),
        )

    # Readings: one per prefix of the windows, oldest first

    def _unconsumed(self, end: datetime) -> bool:
        return self.state.consumed_through is None or end > self.state.consumed_through

    def _read(self, leaf: Leaf) -> list[Reading]:
        if isinstance(leaf, PerformancePolicy):
            return self._read_performance(leaf)
        return self._read_drift(leaf) if isinstance(leaf, DriftPolicy) else [self._read_age(leaf)]

    def _performance_spans(self, leaf: PerformancePolicy) -> tuple[list[float], list[WindowEvidence]]:
        """Return the losses that make the reference, and the windows that are compared with it, without overlap."""
        counting = [window for window in self.windows if not window.too_few_rows and window.loss is not None]
        if leaf.against == "holdout":
            held_out = self.state.deployment_period.holdout_loss
            reference, own = [] if held_out is None else [held_out], 0
        else:
            carried = (self.state.deployment_period.first_losses or [])[: leaf.first]
            own = leaf.first - len(carried)
            reference = carried + [window.loss for window in counting[:own] if window.loss is not None]
        return reference, [window for window in counting[own:] if self._unconsumed(window.end)]

    def _reference(self, leaf: PerformancePolicy) -> float | None:
        losses, _ = self._performance_spans(leaf)
        needed = 1 if leaf.against == "holdout" else leaf.first
        return fmean(losses) if len(losses) == needed else None

    def _read_performance(self, leaf: PerformancePolicy) -> list[Reading]:
        reference = self._reference(leaf)
        if reference is None:
            return []
        _, live = self._performance_spans(leaf)
        threshold = _limit(leaf, reference)
        readings = []
        for stop in range(leaf.last, len(live) + 1):
            recent = [window.loss for window in live[stop - leaf.last : stop] if window.loss is not None]
            value, newest = fmean(recent), live[stop - 1].window
            breach = newest if value > threshold else None
            readings.append(
                Reading(value, threshold, breach, f"{performance_breach(leaf, value, reference)}, {self.since(newest)}")
            )
        return readings

    def _read_drift(self, leaf: DriftPolicy) -> list[Reading]:
        readings: list[Reading] = []
        run: list[str] = []
        for window in self.windows:
            value = _distance(leaf, window)
            if value is None or not self._unconsumed(window.end):
                continue
            run = [*run, window.window] if value > leaf.threshold else []
            breach = run[0] if len(run) >= leaf.for_ else None
            sentence = "" if breach is None else f"{drift_breach(leaf, value)}, {self.since(breach)}"
            note = f"{len(run)} of {leaf.for_} windows in a row" if run and breach is None else ""
            readings.append(Reading(value, leaf.threshold, breach, sentence, note))
        return readings

    def _read_age(self, leaf: AgePolicy) -> Reading:
        # After a HOLD the data are as old as before. Counted from the version's as_of alone, age would be in breach
        # again after each cooldown.
        since = max(filter(None, [self.state.deployment_period.version_as_of, self.state.consumed_through]))
        old_at = since + leaf.max
        # The breach is named by the window in which the limit was reached. When rows arrive late, the newest window may
        # have ended before that.
        fresh = [window for window in self.windows if self._unconsumed(window.end)]
        window = next((window for window in fresh if window.end >= old_at), fresh[-1] if fresh else None)
        breach = window.window if window is not None and self.now >= old_at else None
        age = self.now - since
        limit = f"limit {days(leaf.max)} days"
        sentence = (
            f"training data of {self.moment(since)} are {days(age)} days old, {limit}"
            if since == self.state.deployment_period.version_as_of
            else f"last training, as of {self.moment(since)}, was {days(age)} days ago, {limit}"
        )
        return Reading(age / DAY, leaf.max / DAY, breach, sentence, "" if window is not None else "no window yet")

    # Texts

    def moment(self, moment: datetime) -> str:
        """Return a time in the project's time zone: the date, and the time of day when it is not midnight."""
        local = moment.astimezone(ZoneInfo(self.state.zone))
        return local.strftime("%Y-%m-%d" if (local.hour, local.minute) == (0, 0) else "%Y-%m-%d %H:%M")

    def since(self, window: str) -> str:
        """Return `since the window of <date>` for a window's id."""
        return f"since the window of {self.moment(parse(window))}"

    def _threshold_without_value(self, leaf: Leaf) -> float | None:
        """Return the threshold of a condition that has no value yet; None when the reference is not known either."""
        if isinstance(leaf, PerformancePolicy):
            reference = self._reference(leaf)
            return None if reference is None else _limit(leaf, reference)
        return leaf.threshold if isinstance(leaf, DriftPolicy) else leaf.max / DAY

    def _why_no_reading(self, leaf: Leaf) -> str:
        if isinstance(leaf, PerformancePolicy):
            reference, live = self._performance_spans(leaf)
            if self._reference(leaf) is None and leaf.against == "holdout":
                return "the hold-out loss was measured by another metric"
            if self._reference(leaf) is None:
                return f"{len(reference)} of {leaf.first} first windows"
            return f"{len(live)} of {leaf.last} last windows"
        return "no window has enough rows"


def _limit(leaf: PerformancePolicy, reference: float) -> float:
    return reference + leaf.worse_by if leaf.worse_by is not None else reference * (leaf.ratio or 1.0)


def _distance(leaf: DriftPolicy, window: WindowEvidence) -> float | None:
    """Return a window's value for a drift condition; None when the window does not count for it."""
    if window.too_few_rows:
        return None
    return window.data_drift_share if leaf.statistic is None else window.prediction_drift.get(leaf.statistic)
