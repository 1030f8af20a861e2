"""What `mlops-assets status` shows of a project. The JSON form is a contract that other tools read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypedDict

import pandas as pd
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from mlops_assets.context import ProjectContext
from mlops_assets.errors import EndpointError, SourceError
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.event_account import account_of, due_events
from mlops_assets.loop.outstanding import monitored_from
from mlops_assets.monitoring.observation import predictions_frame
from mlops_assets.monitoring.performance import LossComparison, compare_losses
from mlops_assets.timeline import iso

LAST = 10
"""How many decisions and verdicts are shown. All of them are in the ledger."""


class ChampionStatus(TypedDict):
    """The version that serves. Times are ISO 8601 in UTC."""

    version: int
    dataset: str
    as_of: str
    trained_through: str


class EndpointStatus(TypedDict):
    """The present state of the scoring service."""

    url: str | None
    model_version: int | None
    dataset: str | None
    ready: bool


class WindowsStatus(TypedDict):
    """How many windows since the first promotion have reports and labels, and how many are in quarantine."""

    scored: int
    labelled: int
    quarantined: int


class EventsStatus(TypedDict):
    """How many events were due since the first promotion, by state.

    `due` = `answered` + `missed` + `waiting` + `lost`. Which events are due comes from the source and the timeline.
    """

    due: int
    answered: int
    late: int
    missed: int
    waiting: int
    """Events that were not scored yet, or whose prediction will be requested again."""
    lost: int
    """Events that were scored, and are neither answered nor missed nor waiting."""
    note: str | None
    """Why events of windows that are not published yet could not be counted; None when they were."""


class DecisionStatus(TypedDict):
    """A decision on retraining."""

    id: str
    at: str
    decision: str
    reasons: list[str]
    run_id: str | None


class VerdictStatus(TypedDict):
    """A verdict of the gate; losses are in the project's metric, smaller is better."""

    at: str
    verdict: str
    version: int | None
    champion_loss: float | None
    candidate_loss: float | None


class LossStatus(TypedDict):
    """Losses over the same events since the first retrained version; None before there is one."""

    metric: str
    served: float | None
    first_model: float | None
    baseline: float | None
    windows: int


class ProjectStatus(TypedDict):
    """The present state of one project. Times are ISO 8601 in UTC."""

    now: str
    champion: ChampionStatus | None
    endpoint: EndpointStatus
    windows: WindowsStatus
    events: EventsStatus
    retrainings: int
    decisions: list[DecisionStatus]
    verdicts: list[VerdictStatus]
    loss: LossStatus


def project_status(context: ProjectContext) -> ProjectStatus:
    """Return the present state of one project."""
    view = context.ledger_view()
    return ProjectStatus(
        now=iso(context.now()),
        champion=_champion(view),
        endpoint=_endpoint(context),
        windows=_windows(context, view),
        events=_events(context, view),
        retrainings=sum(f.outcome == "JUDGED" and f.by in ("policy", "person") for f in view.ended_trainings),
        decisions=[
            DecisionStatus(
                id=d.id, at=iso(d.at), decision=d.outcome, reasons=[d.reason], run_id=_training_run_of(view, d.id)
            )
            for d in view.decisions[-LAST:]
        ],
        verdicts=[
            VerdictStatus(
                at=iso(v.at),
                verdict=v.verdict,
                version=v.version,
                champion_loss=v.champion_loss,
                candidate_loss=v.candidate_loss,
            )
            for v in view.verdicts[-LAST:]
        ],
        loss=_loss(context, view),
    )


def _champion(view: LedgerView) -> ChampionStatus | None:
    if view.deployment_period is None:
        return None
    version = view.versions[view.deployment_period.version]
    return ChampionStatus(
        version=version.version,
        dataset=version.dataset,
        as_of=iso(version.as_of),
        trained_through=iso(version.trained_through),
    )


def _endpoint(context: ProjectContext) -> EndpointStatus:
    try:
        found = context.endpoint.status()
    except EndpointError:
        # The service runs and does not respond. Status reports that, and does not fail because of it.
        return EndpointStatus(url=context.endpoint.url, model_version=None, dataset=None, ready=False)
    champion = None if found is None else found.champion
    return EndpointStatus(
        url=context.endpoint.url,
        model_version=None if champion is None else champion.version,
        dataset=None if champion is None else champion.dataset,
        ready=found is not None and found.ready,
    )


def _windows(context: ProjectContext, view: LedgerView) -> WindowsStatus:
    since = monitored_from(view)
    monitored = [] if since is None else [w for w in context.timeline.ended_windows(context.now()) if w.end > since]
    return WindowsStatus(
        scored=sum(view.newest_report("health", window.id) is not None for window in monitored),
        labelled=sum(window.id in view.labelled for window in monitored),
        quarantined=len(view.quarantined),
    )


def _events(context: ProjectContext, view: LedgerView) -> EventsStatus:
    timeline, project = context.timeline, context.spec.name
    through = timeline.last_tick(context.now())
    rows, note = _event_rows(context, view, through)
    account = account_of(
        view,
        due_events(timeline, rows, view.first_as_of, through),
        answered=context.telemetry.predicted_events(project),
        missed=set(view.missed),
    )
    return EventsStatus(
        due=account.due,
        answered=len(account.answered),
        late=context.telemetry.counts(project)["late"],
        missed=len(account.missed),
        waiting=len(account.waiting),
        lost=len(account.lost),
        note=note,
    )


def _event_rows(context: ProjectContext, view: LedgerView, through: datetime) -> tuple[pd.DataFrame, str | None]:
    """Return the rows whose predictions are due since the first promotion, and why some could not be read.

    Rows of published windows are read from the lake, all others from the source, as the scorer reads them.

    Args:
        context: the project.
        view: its ledger.
        through: the last due moment.
    """
    timeline = context.timeline
    nothing = pd.DataFrame({"event_time": pd.Series(dtype="datetime64[ns, UTC]")})
    if view.first_as_of is None:
        return nothing, None
    start = view.first_as_of + timeline.horizon
    end = through + timeline.horizon + timedelta(microseconds=1)
    published = sorted(timeline.window(name) for name in view.published)
    published = [window for window in published if window.end > start and window.start < end]
    versions = {window.id: view.published[window.id].data_version for window in published}
    parts = [context.lake.read(context.spec.name, "raw_data", versions)] if versions else []
    unpublished = zip(
        [start, *(window.end for window in published)], [*(window.start for window in published), end], strict=True
    )
    try:
        parts += [context.source.events(since, until, []) for since, until in unpublished if since < until]
        note = None
    except SourceError as error:
        # A source that cannot be read must not hide everything else. The note says what the numbers leave out.
        note = f"only events of published windows are counted, since the source cannot be read: {error}"
    kept = [part[[name for name in ("event_time", "entity") if name in part]] for part in parts if len(part)]
    return (pd.concat(kept, ignore_index=True) if kept else nothing), note


def _training_run_of(view: LedgerView, decision: str) -> str | None:
    runs = [fact.run_id for fact in view.started_trainings if fact.decision == decision]
    return runs[-1] if runs else None


def first_retrained_as_of(view: LedgerView) -> datetime | None:
    """Return `as_of` of the first version that a retraining promoted; None before there is one."""
    found = next((period for period in view.deployment_periods if period.cause == "retraining"), None)
    return None if found is None else view.versions[found.version].as_of


def _loss(context: ProjectContext, view: LedgerView) -> LossStatus:
    metric, found = context.spec.problem.metric, live_loss(context, view)
    if found is None:
        return LossStatus(metric=metric, served=None, first_model=None, baseline=None, windows=0)
    return LossStatus(metric=metric, **found)


def live_loss(context: ProjectContext, view: LedgerView) -> LossComparison | None:
    """Return the losses of the served model, the first model and the baseline over the same events.

    Events count that were due at or after `as_of` of the first retrained version.

    Args:
        context: the project.
        view: its ledger.

    Returns:
        The losses; None before a retrained version was promoted, or while no labelled event has a prediction of all
        three.
    """
    since = first_retrained_as_of(view)
    if since is None or view.first_version is None or view.deployment_period is None:
        return None
    labels = context.labels({window: fact.data_version for window, fact in view.labelled.items()})
    predictions = context.telemetry.predictions(
        context.spec.name, since, context.now() + context.timeline.horizon, roles=("champion", "shadow")
    )
    return compare_losses(
        spec=context.spec,
        timeline=context.timeline,
        predictions=predictions_frame(context.spec.classes, predictions),
        labels=labels,
        series=labels,
        first_version=view.first_version,
        since=since,
        known_until=view.versions[view.first_version].as_of,
    )


def render(name: str, facts: ProjectStatus) -> RenderableType:
    """Return the same facts as a panel for the terminal."""
    head = Table.grid(padding=(0, 2))
    champion, endpoint, events, windows = facts["champion"], facts["endpoint"], facts["events"], facts["windows"]
    head.add_row("clock", facts["now"])
    head.add_row(
        "champion",
        "none yet"
        if champion is None
        else f"version {champion['version']}, trained through {champion['trained_through']}",
    )
    ready = "ready" if endpoint["ready"] else "not ready"
    head.add_row("endpoint", f"{endpoint['url'] or 'not running'} ({ready}, version {endpoint['model_version']})")
    head.add_row(
        "windows", f"{windows['scored']} scored, {windows['labelled']} labelled, {windows['quarantined']} quarantined"
    )
    head.add_row("events", _events_line(events))
    head.add_row("retrainings", str(facts["retrainings"]))
    loss = facts["loss"]
    if loss["served"] is not None:
        head.add_row(
            f"loss ({loss['metric']})",
            f"served {loss['served']:.4g}, first model {loss['first_model']:.4g}, baseline {loss['baseline']:.4g} "
            f"over {loss['windows']} windows since the first retraining",
        )
    decisions = Table("at", "decision", "why", title="last decisions", title_justify="left")
    for decision in facts["decisions"]:
        decisions.add_row(decision["at"], decision["decision"], " ".join(decision["reasons"]))
    return Panel(Group(head, decisions), title=name, title_align="left")


def _events_line(events: EventsStatus) -> str:
    line = f"{events['due']} due, {events['answered']} answered ({events['late']} late), {events['missed']} missed"
    line += f", {events['waiting']} waiting" if events["waiting"] else ""
    line += f", {events['lost']} LOST (scored, but no prediction is in the log)" if events["lost"] else ""
    return f"{line}; {events['note']}" if events["note"] else line


def windows_table(context: ProjectContext, view: LedgerView) -> pd.DataFrame:
    """Return one row per window since the first promotion: start, losses, version, decision and its reason."""
    since, rows = monitored_from(view), []
    for window in context.timeline.ended_windows(context.now()):
        if since is None or window.end <= since:
            continue
        report = view.newest_report("performance", window.id)
        decided = [d for d in view.decisions if d.window == window.id]
        summary = report.summary if report is not None else {}
        rows.append(
            {
                "window": window.start,
                "served": summary.get("served"),
                "shadow": summary.get("shadow"),
                "baseline": summary.get("baseline"),
                "version": report.version if report is not None else None,
                "decision": decided[-1].outcome if decided else None,
                "reason": decided[-1].reason if decided else None,
                "signals": ", ".join(e.signal for e in decided[-1].evidence) if decided else "",
            }
        )
    return pd.DataFrame(rows)
