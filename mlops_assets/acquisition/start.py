"""The beginning of a training: who asked, whether it is still wanted, and whether anything due by now is still open."""

from __future__ import annotations

from datetime import datetime

from mlops_assets.acquisition.snapshot import take_snapshot
from mlops_assets.errors import NotSettled, Refused
from mlops_assets.retraining.history import History
from mlops_assets.retraining.outstanding import before_training, outstanding
from mlops_assets.retraining.records import WindowLabelled
from mlops_assets.retraining.training import Ticket, request_retraining
from mlops_assets.timeline import iso
from resources.dvc import Snapshot
from resources.platform import Desk
from resources.workbench import Workbench

SNAPSHOT = "snapshot.json"


def snap(desk: Desk, bench: Workbench, ticket: Ticket) -> Snapshot | str:
    """Take the training snapshot of a run; or say why the training is skipped.

    Raises:
        NotSettled: while windows or labels that are due by now are open, for a dataset by hand answers too.
        Refused: when a person asks without enough unseen rows to judge on.
    """
    history, now = desk.history(), desk.now()
    if ticket.decision is not None and history.acted_on(ticket.decision):
        consumed = f"the evidence of decision {ticket.decision} has been consumed meanwhile"
        desk.ledger.append(desk.spec.name, ticket.started(now), ticket.ended("SKIPPED", now, reason=consumed))
        return consumed
    _require_settled(desk, history, ticket)
    if ticket.by == "person" and (reason := too_few_unseen(desk, history)) is not None:
        desk.ledger.append(desk.spec.name, ticket.started(now), ticket.ended("SKIPPED", now, reason=reason))
        raise Refused(desk.spec.name, "retrain", reason, "wait for more labelled windows")
    if ticket.by != "hand":
        desk.ledger.append(desk.spec.name, ticket.started(now))
    snapshot = take_snapshot(desk.snapshots, desk.lake, desk.timeline, now)
    bench.put(SNAPSHOT, snapshot.model_dump_json())
    return snapshot


def personal(desk: Desk, ticket: Ticket) -> Ticket:
    """A retraining started by hand in the UI becomes a person's recorded request, given all standing evidence."""
    if ticket.by != "person" or ticket.decision is not None:
        return ticket
    decision = request_retraining(desk.ledger, desk.timeline, ticket.run_id, desk.now())
    return Ticket(f"{decision.id}:1", decision.id, 1, "person", ticket.run_id, ticket.force)


def too_few_unseen(desk: Desk, history: History) -> str | None:
    """Why a candidate could not be judged now; None when there are enough unseen labelled rows."""
    if history.reign is None:
        return None
    timeline, needed = desk.timeline, desk.spec.promotion.min_rows
    as_of = history.versions[history.reign.version].as_of
    since = as_of + timeline.horizon
    unseen = sum(_rows_since(desk, fact, since) for fact in history.labelled.values())
    if unseen >= needed:
        return None
    champion = f"version {history.reign.version} (as of {iso(as_of)})"
    return f"{unseen} labelled rows that {champion} has not seen, {needed} are needed"


def _rows_since(desk: Desk, labels: WindowLabelled, since: datetime) -> int:
    """Labelled rows of a window at or after a moment; read only where the moment lies within the window."""
    window = desk.timeline.window(labels.window)
    if window.end <= since:
        return 0
    if window.start >= since:
        return labels.rows
    return int((desk.labels({labels.window: labels.data_version})["event_time"] >= since).sum())


def _require_settled(desk: Desk, history: History, ticket: Ticket) -> None:
    """A new version finds no old questions.

    Answers that fell due between the launch of a training and now are no obstacle: the champion gives them before its
    successor takes its place. A clock that goes on by itself would overtake one training after the other.
    """
    left = before_training(outstanding(desk.timeline, history, desk.now()), answers=ticket.by == "hand")
    if left:
        raise NotSettled(
            desk.spec.name,
            "dataset",
            f"{left[0].key} is still open",
            "let the sensors finish, or materialize raw_data and labels of these windows and run the score job first",
        )
