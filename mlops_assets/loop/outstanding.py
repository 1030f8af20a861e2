"""What is left to do at a moment: pure, and the one definition of "settled".

Sensors ask it what to launch, a replay asks it whether the loop has come to rest, `dataset` asks it whether anything
due by now is still open. The order of the answer is the order of the work within a moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from mlops_assets.ledger.facts import Stage
from mlops_assets.ledger.view import LedgerView
from mlops_assets.timeline import Timeline, Window, contiguous, iso

Sensor = Literal["live_data", "late_labels", "retraining", "endpoint_health"]
LONGEST_PAUSE = timedelta(minutes=5)
"""So long at most, on the wall's clock, something that failed waits before it is tried again."""


@dataclass(frozen=True)
class Heal:
    """A promotion that was begun and neither completed nor undone."""

    promotion: str
    sensor: Sensor = "endpoint_health"

    @property
    def key(self) -> str:
        """Run key, without project and attempt."""
        return f"heal:{self.promotion}"


@dataclass(frozen=True)
class Score:
    """Answers that are due by `through`."""

    through: datetime
    sensor: Sensor = "live_data"

    @property
    def key(self) -> str:
        """Run key, without project and attempt."""
        return f"score:{iso(self.through)}"


@dataclass(frozen=True)
class Observe:
    """Windows that ended, or whose labels came: a range without holes."""

    windows: tuple[Window, ...]
    stage: Stage
    sensor: Sensor

    @property
    def key(self) -> str:
        """Run key, without project and attempt."""
        return f"observe:{self.stage}:{self.windows[0].id}:{self.windows[-1].id}"


@dataclass(frozen=True)
class Repair:
    """A quarantined window that is read again, once per window's length."""

    window: Window
    since: datetime
    sensor: Sensor = "live_data"

    @property
    def key(self) -> str:
        """Run key, without project and attempt."""
        return f"repair:{self.window.id}:{iso(self.since)}"


@dataclass(frozen=True)
class Collect:
    """A COLLECT decision whose hook has not run."""

    decision: str
    sensor: Sensor = "retraining"

    @property
    def key(self) -> str:
        """Run key, without project and attempt."""
        return f"collect:{self.decision}"


@dataclass(frozen=True)
class Retrain:
    """A RETRAIN decision with attempts left."""

    decision: str
    attempt: int
    not_before: datetime | None
    """Wall time before which a further attempt must not start."""
    sensor: Sensor = "retraining"

    @property
    def key(self) -> str:
        """Run key, without project and attempt: a retraining's own attempt is part of it."""
        return f"{self.decision}:{self.attempt}"


Work = Heal | Score | Observe | Repair | Collect | Retrain


def outstanding(timeline: Timeline, view: LedgerView, now: datetime) -> list[Work]:
    """All work that is due by now, in the order in which it must be done; empty when the loop has settled."""
    work: list[Work] = []
    if (promotion := view.open_promotion) is not None:
        work.append(Heal(promotion.promotion))
    tick = timeline.last_tick(now)
    begun = view.first_as_of
    # nothing was due at a tick before the first version's data were snapped
    if begun is not None and begun <= tick and (view.scored_through is None or view.scored_through < tick):
        work.append(Score(tick))
    work += _observations(timeline, view, now)
    work += _repairs(timeline, view, now)
    if (collect := view.open_collect) is not None:
        work.append(Collect(collect.id))
    if (retrain := view.open_retrain) is not None:
        work.append(_attempt(timeline, view, retrain.id))
    return work


def before_training(work: list[Work], *, answers: bool) -> list[Work]:
    """The part of the work that must be done before a dataset is snapped; `answers`: also those that are due."""
    return [item for item in work if isinstance(item, Observe) or (answers and isinstance(item, Score))]


def watched_from(timeline: Timeline, view: LedgerView) -> datetime | None:
    """Windows that end after this moment are reported and decided on; None before the first promotion."""
    return view.deployment_periods[0].start if view.deployment_periods else None


def _observations(timeline: Timeline, view: LedgerView, now: datetime) -> list[Work]:
    ended: list[Window] = []
    labelled: list[Window] = []
    watched = watched_from(timeline, view)
    for window in timeline.ended_windows(now):
        if window.id in view.quarantined:
            continue
        labels_known = timeline.labels_at(window) <= now
        reported = watched is not None and window.end > watched
        if window.id not in view.published:
            (labelled if labels_known and timeline.spec.labels.delay == timedelta(0) else ended).append(window)
        elif labels_known and not _complete(view, window, "labelled", reported):
            labelled.append(window)
        elif not labels_known and not _complete(view, window, "ended", reported):
            ended.append(window)
    without_delay = timeline.spec.labels.delay == timedelta(0)
    late: Sensor = "live_data" if without_delay else "late_labels"
    work: list[Work] = [Observe(group, "ended", "live_data") for group in _groups(ended, watched)]
    return work + [Observe(group, "labelled", late) for group in _groups(labelled, watched)]


def _groups(windows: list[Window], watched: datetime | None) -> Iterator[tuple[Window, ...]]:
    """Runs without holes; of windows that are reported and decided on, or of others, never both."""
    for reported in (False, True):
        chosen = [window for window in windows if (watched is not None and window.end > watched) is reported]
        yield from (tuple(group) for group in contiguous(chosen))


def _complete(view: LedgerView, window: Window, stage: Stage, reported: bool) -> bool:
    if stage == "labelled" and window.id not in view.labelled:
        return False
    if not reported:
        return True
    if view.missing_reports(window.id, stage):
        return False
    return window.id in view.repaired or view.decision_for(window.id, stage) is not None


def _repairs(timeline: Timeline, view: LedgerView, now: datetime) -> list[Work]:
    work: list[Work] = []
    for window_id, fact in sorted(view.quarantined.items()):
        window = timeline.window(window_id)
        if fact.at + (window.end - window.start) <= now:
            work.append(Repair(window, fact.at))
    return work


def _attempt(timeline: Timeline, view: LedgerView, decision: str) -> Retrain:
    failed = view.attempts(decision)
    if not failed:
        return Retrain(decision, 1, None)
    pause = growing(timeline.spec.retraining.pause, len(failed))
    return Retrain(decision, len(failed) + 1, failed[-1].wall_time + pause)


def growing(first: timedelta, failures: int) -> timedelta:
    """The pause after so many failures in a row: it doubles, until it is `LONGEST_PAUSE`, or as long as the first."""
    doubled: timedelta = first * 2 ** min(failures - 1, 20)
    return min(doubled, max(first, LONGEST_PAUSE))
