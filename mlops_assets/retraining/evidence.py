"""What stands against a deployment period: breaches of the policy's signals, latched until they are consumed. Pure.

Each condition of a policy is read on every prefix of the deployment period's windows, oldest first, and the first prefix in breach
gives the evidence. So evidence needs no memory of its own: a breach that heals later is found again at the same window,
also for a member of `all` that no decision has recorded because the other members were missing.
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
from mlops_assets.retraining.wording import DAY, Leaf, apart, condition, days, subject, worse
from mlops_assets.spec.loop import RetrainingSpec
from mlops_assets.spec.policies import AgePolicy, AllPolicy, AnyPolicy, DriftPolicy, PerformancePolicy, Policy, leaves
from mlops_assets.timeline import iso, parse

Loss = Annotated[FiniteFloat, Field(ge=0)]


class WindowEvidence(FrozenModel):
    """What the newest reports say of one window of a deployment period."""

    window: str
    end: AwareDatetime
    stage: Stage
    too_few_rows: bool
    """It holds fewer than `monitoring.min_rows` of the deployment period's answers: it neither continues nor ends a breach."""
    rows: int
    """Labelled answers of the deployment period."""
    loss: Loss | None
    """Their loss; None while labels are pending, or with too few rows."""
    prediction_drift: dict[str, FiniteFloat]
    """Distance of the predictions, per statistic."""
    data_drift_share: FiniteFloat | None
    """Share of drifted columns."""


class DeploymentPeriodFacts(FrozenModel):
    """The deployment period that is decided on, and its version."""

    number: int
    version: int
    start: AwareDatetime
    version_as_of: AwareDatetime
    holdout_loss: Loss | None
    """None where it was measured by another metric than the YAML names now."""
    first_losses: list[Loss] | None
    """After a rollback: losses of the version's first live windows, oldest first, from its first deployment period. Else None."""


class LoopState(FrozenModel):
    """What happened around the reports, as far as a decision depends on it."""

    project: str
    deployment_period: DeploymentPeriodFacts
    consumed_through: AwareDatetime | None
    """`as_of` of this deployment period's last training whose verdict, or whose last failure, consumed the evidence."""
    cooldown_from: AwareDatetime | None
    """`as_of` of the last judged or finally failed training, or moment of the last rollback, in any deployment period."""
    trainings: list[AwareDatetime]
    """`as_of` of each training attempt that was started; failed ones count."""
    standing: list[Evidence]
    """Evidence recorded by earlier decisions and not consumed, oldest first."""
    in_progress: str | None
    """Id of a RETRAIN that was recorded for evidence that still stands."""
    collected: list[str]
    """Ids of the COLLECT decisions recorded."""
    new_rows: int
    """Labelled rows since the champion's training."""
    held: bool = False
    """A person holds the policy's retrainings back."""
    zone: str = "UTC"
    """`data.time_zone`: sentences name local dates."""


class SignalRow(FrozenModel):
    """One condition of the policy as it stands now: a row of the decision's table."""

    signal: str
    condition: str
    """What would be a breach, in words."""
    value: float | None
    """Today's value, in the unit of the loss, the distance, a share or days; None while there is none."""
    threshold: float | None
    since: str | None
    """First window of the evidence that stands; None without."""
    note: str
    """What the value still lacks, or why there is none."""


@dataclass(frozen=True)
class Reading:
    """A condition on one prefix of the windows; `breach` is the first window of its breach, None without one."""

    value: float
    threshold: float
    breach: str | None
    sentence: str
    note: str = ""


def find_evidence(
    policy: RetrainingSpec, windows: Sequence[WindowEvidence], state: LoopState, now: datetime
) -> list[Evidence]:
    """All evidence that stands now, in the policy's order: what earlier decisions latched, and breaches found now.

    Args:
        policy: the project's `retraining`.
        windows: one entry per window of the deployment period, the newest stage known.
        history: what happened around them.
        now: the project's time.

    Raises:
        Refused: when a window has not ended yet.
    """
    return Signals(policy, windows, state, now).evidence()


def signal_table(
    policy: RetrainingSpec, windows: Sequence[WindowEvidence], state: LoopState, now: datetime
) -> list[SignalRow]:
    """Every condition of the policy with its threshold and today's value; arguments as of `find_evidence`."""
    return Signals(policy, windows, state, now).table()


def signal_names(policy: Policy) -> dict[Leaf, str]:
    """The name of each condition: its signal, numbered where several conditions share one (`age`, `age#2`).

    Evidence latches per name; without the number the milder of two performance conditions would speak for both.
    """
    seen: Counter[str] = Counter()
    names: dict[Leaf, str] = {}
    for leaf in leaves(policy):
        if leaf not in names:
            seen[leaf.signal] += 1
            names[leaf] = leaf.signal if seen[leaf.signal] == 1 else f"{leaf.signal}#{seen[leaf.signal]}"
    return names


class Signals:
    """The policy's conditions, read on the windows of a deployment period; arguments as of `find_evidence`."""

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
        self.standing = self._standing()

    def evidence(self) -> list[Evidence]:
        """What stands and is asked for by the policy as a whole."""
        return list({evidence.identity: evidence for evidence in self._asked_by(self.policy.when)}.values())

    def table(self) -> list[SignalRow]:
        """Each condition, as it stands now."""
        return [self._row(leaf) for leaf in self.names]

    def _asked_by(self, policy: Policy) -> list[Evidence]:
        if isinstance(policy, AnyPolicy | AllPolicy):
            members = [self._asked_by(member) for member in policy.of]
            if isinstance(policy, AllPolicy) and not all(members):
                return []
            return [evidence for member in members for evidence in member]
        return [self.standing[policy]] if policy in self.standing else []

    def _standing(self) -> dict[Leaf, Evidence]:
        found: dict[Leaf, Evidence] = {}
        for leaf, name in self.names.items():
            latched = [evidence for evidence in self.state.standing if self._still_latched(evidence, name)]
            evidence = latched[0] if latched else self._breach(leaf)
            if evidence is not None:
                found[leaf] = evidence
        return found

    def _still_latched(self, evidence: Evidence, name: str) -> bool:
        """A decision made while a training ran records evidence that its verdict then consumes: ask the window."""
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
            threshold=newest.threshold if newest else self._bare_threshold(leaf),
            since=self.standing[leaf].window if leaf in self.standing else None,
            note=newest.note if newest else self._why_no_reading(leaf),
        )

    # Reading: one entry per prefix of the windows, oldest first

    def _unconsumed(self, end: datetime) -> bool:
        return self.state.consumed_through is None or end > self.state.consumed_through

    def _read(self, leaf: Leaf) -> list[Reading]:
        if isinstance(leaf, PerformancePolicy):
            return self._read_performance(leaf)
        return self._read_drift(leaf) if isinstance(leaf, DriftPolicy) else [self._read_age(leaf)]

    def _performance_spans(self, leaf: PerformancePolicy) -> tuple[list[float], list[WindowEvidence]]:
        """Losses that make the reference, and the windows that may be held against it: never the same window."""
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
                Reading(value, threshold, breach, f"{worse(leaf, value, reference)}, since {self.window_of(newest)}")
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
            value_text, limit_text = apart(value, leaf.threshold)
            sentence = (
                f"the {subject(leaf)} ({value_text}) is above the {limit_text} allowed"
                f"{f' for {leaf.for_} windows in a row' if leaf.for_ > 1 else ''}, since {self.window_of(breach)}"
                if breach is not None
                else ""
            )
            note = f"{len(run)} of {leaf.for_} windows in a row" if run and breach is None else ""
            readings.append(Reading(value, leaf.threshold, breach, sentence, note))
        return readings

    def _read_age(self, leaf: AgePolicy) -> Reading:
        # After a HOLD the data are as old as before: counted from as_of alone, age would ask again after each cooldown.
        since = max(filter(None, [self.state.deployment_period.version_as_of, self.state.consumed_through]))
        old_at = since + leaf.max
        # Its window is the one in which it grew too old; where rows arrive late, the newest one may have ended before.
        fresh = [window for window in self.windows if self._unconsumed(window.end)]
        window = next((window for window in fresh if window.end >= old_at), fresh[-1] if fresh else None)
        breach = window.window if window is not None and self.now >= old_at else None
        age = self.now - since
        allowed = f"at least the {days(leaf.max)} allowed"
        sentence = (
            f"the model's data of {self.moment(since)} are {days(age)} days old, {allowed}"
            if since == self.state.deployment_period.version_as_of
            else f"the last training, as of {self.moment(since)}, is {days(age)} days ago, {allowed}"
        )
        return Reading(age / DAY, leaf.max / DAY, breach, sentence, "" if window is not None else "no window yet")

    # Words

    def moment(self, moment: datetime) -> str:
        """A time as people of the project write it: the date, with the hour where it is not midnight."""
        local = moment.astimezone(ZoneInfo(self.state.zone))
        return local.strftime("%Y-%m-%d" if (local.hour, local.minute) == (0, 0) else "%Y-%m-%d %H:%M")

    def window_of(self, window: str) -> str:
        """A window in a sentence."""
        return f"the window of {self.moment(parse(window))}"

    def _bare_threshold(self, leaf: Leaf) -> float | None:
        """The threshold of a condition that has no value yet."""
        if isinstance(leaf, PerformancePolicy):
            reference = self._reference(leaf)
            return None if reference is None else _limit(leaf, reference)
        return leaf.threshold if isinstance(leaf, DriftPolicy) else leaf.max / DAY

    def _why_no_reading(self, leaf: Leaf) -> str:
        if isinstance(leaf, PerformancePolicy):
            reference, live = self._performance_spans(leaf)
            if self._reference(leaf) is None and leaf.against == "holdout":
                return "its hold-out was measured by another metric"
            if self._reference(leaf) is None:
                return f"{len(reference)} of the {leaf.first} first windows"
            return f"{len(live)} of the {leaf.last} last windows"
        return "no window old enough"


def _limit(leaf: PerformancePolicy, reference: float) -> float:
    return reference + leaf.worse_by if leaf.worse_by is not None else reference * (leaf.ratio or 1.0)


def _distance(leaf: DriftPolicy, window: WindowEvidence) -> float | None:
    """The value that a window adds to a drift condition; None where the window does not count for it."""
    if window.too_few_rows:
        return None
    return window.data_drift_share if leaf.statistic is None else window.prediction_drift.get(leaf.statistic)
