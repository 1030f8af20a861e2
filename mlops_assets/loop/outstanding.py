"""The work of a project's loop that is outstanding at a moment. All functions are pure.

Sensors launch its first item, a replay waits until it is empty, and a training refuses to begin while earlier work is
outstanding. The loop is idle when nothing is outstanding and no run is active.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from mlops_assets.ledger.facts import RequestedBy, Stage
from mlops_assets.ledger.view import LedgerView
from mlops_assets.retraining.retries import next_attempt
from mlops_assets.timeline import Timeline, Window, contiguous, iso

Sensor = Literal["live_data", "late_labels", "retraining", "endpoint_health"]
"""The sensor that launches an item of work."""


@dataclass(frozen=True)
class Heal:
    """Finish or undo a promotion that was begun and not ended."""

    promotion: str
    sensor: Sensor = "endpoint_health"

    @property
    def key(self) -> str:
        """The run key, without project and attempt."""
        return f"heal:{self.promotion}"


@dataclass(frozen=True)
class Score:
    """Request the predictions that are due by `through`."""

    through: datetime
    sensor: Sensor = "live_data"

    @property
    def key(self) -> str:
        """The run key, without project and attempt."""
        return f"score:{iso(self.through)}"


@dataclass(frozen=True)
class Observe:
    """Publish and report windows that ended, or whose labels arrived. The windows follow each other without a gap."""

    windows: tuple[Window, ...]
    stage: Stage
    sensor: Sensor

    @property
    def key(self) -> str:
        """The run key, without project and attempt."""
        return f"observe:{self.stage}:{self.windows[0].id}:{self.windows[-1].id}"


@dataclass(frozen=True)
class Repair:
    """Read a quarantined window again. This is done once per length of a window."""

    window: Window
    since: datetime
    sensor: Sensor = "live_data"

    @property
    def key(self) -> str:
        """The run key, without project and attempt."""
        return f"repair:{self.window.id}:{iso(self.since)}"


@dataclass(frozen=True)
class Collect:
    """Run the project's `collect` hook for a COLLECT decision."""

    decision: str
    sensor: Sensor = "retraining"

    @property
    def key(self) -> str:
        """The run key, without project and attempt."""
        return f"collect:{self.decision}"


@dataclass(frozen=True)
class Retrain:
    """Train for a RETRAIN decision."""

    decision: str
    attempt: int
    not_before: datetime | None
    """Wall time before which a further attempt must not start; None for the first attempt."""
    sensor: Sensor = "retraining"

    @property
    def key(self) -> str:
        """The run key, without the project. It contains the attempt, because a training counts its own attempts."""
        return f"{self.decision}:{self.attempt}"


Work = Heal | Score | Observe | Repair | Collect | Retrain
"""An item of outstanding work."""


def outstanding(timeline: Timeline, view: LedgerView, now: datetime) -> list[Work]:
    """Return all work that is due by now, in the order in which it must be done."""
    work: list[Work] = []
    if (promotion := view.open_promotion) is not None:
        work.append(Heal(promotion.promotion))
    tick = timeline.last_tick(now)
    first = view.first_as_of
    # events that were due before the first version's data were read are not counted
    if first is not None and first <= tick and (view.scored_through is None or view.scored_through < tick):
        work.append(Score(tick))
    work += _observations(timeline, view, now)
    work += _repairs(timeline, view, now)
    if (collect := view.open_collect) is not None:
        work.append(Collect(collect.id))
    if (retrain := view.open_retrain) is not None:
        attempt = next_attempt(view, retrain.id, timeline.spec.retraining)
        work.append(Retrain(retrain.id, attempt.number, attempt.not_before))
    return work


def required_before_training(work: list[Work], by: RequestedBy) -> list[Work]:
    """Return the part of the outstanding work that must be done before a training reads its data.

    Windows must be published and reported. A training by hand also needs the predictions that are due. In the loop
    these come first anyway, and by the wall clock new ones fall due while a training starts.
    """
    kinds = (Observe, Score) if by == "hand" else (Observe,)
    return [item for item in work if isinstance(item, kinds)]


def monitored_from(view: LedgerView) -> datetime | None:
    """Return the time after which windows must end to be reported and decided on; None before the first promotion."""
    return view.deployment_periods[0].start if view.deployment_periods else None


def _observations(timeline: Timeline, view: LedgerView, now: datetime) -> list[Work]:
    without_delay = timeline.spec.labels.delay == timedelta(0)
    since = monitored_from(view)
    ended: list[Window] = []
    labelled: list[Window] = []
    for window in timeline.ended_windows(now):
        if window.id in view.quarantined:
            continue
        labels_known = timeline.labels_at(window) <= now
        monitored = _is_monitored(window, since)
        if window.id not in view.published:
            (labelled if labels_known and without_delay else ended).append(window)
        elif labels_known and not _is_complete(view, window, "labelled", monitored=monitored):
            labelled.append(window)
        elif not labels_known and not _is_complete(view, window, "ended", monitored=monitored):
            ended.append(window)
    late: Sensor = "live_data" if without_delay else "late_labels"
    work: list[Work] = [Observe(group, "ended", "live_data") for group in _groups(ended, since)]
    return work + [Observe(group, "labelled", late) for group in _groups(labelled, since)]


def _is_monitored(window: Window, since: datetime | None) -> bool:
    return since is not None and window.end > since


def _groups(windows: list[Window], since: datetime | None) -> Iterator[tuple[Window, ...]]:
    """Yield groups of windows without gaps. The windows of a group are all monitored, or none is: their jobs differ."""
    for monitored in (False, True):
        chosen = [window for window in windows if _is_monitored(window, since) is monitored]
        yield from (tuple(group) for group in contiguous(chosen))


def _is_complete(view: LedgerView, window: Window, stage: Stage, *, monitored: bool) -> bool:
    if stage == "labelled" and window.id not in view.labelled:
        return False
    if not monitored:
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
