"""The inputs of a policy, read from a ledger view: the evidence of a deployment period, and the state of the loop."""

from __future__ import annotations

from datetime import datetime

from mlops_assets.ledger.facts import DeploymentPeriod
from mlops_assets.ledger.summaries import DriftSummary, PerformanceSummary
from mlops_assets.ledger.view import LedgerView
from mlops_assets.retraining.evidence import DeploymentPeriodFacts, LoopState, WindowEvidence
from mlops_assets.timeline import Timeline, Window


def window_evidence(
    timeline: Timeline, view: LedgerView, period: DeploymentPeriod, until: Window
) -> list[WindowEvidence]:
    """Return the numbers of each reported window of a deployment period, oldest first.

    Windows that were quarantined are left out: their reports are shown, but no decision depends on them.

    Args:
        timeline: the project's time.
        view: the project's ledger.
        period: the deployment period.
        until: the last window.
    """
    if period.start >= until.end:
        return []  # a period that begins at the end of the data has no windows
    found = []
    for window in timeline.windows(timeline.window_at(period.start).start, until.end):
        if window.id not in view.repaired and window.end > period.start:
            evidence = _of_window(timeline, view, period, window)
            if evidence is not None:
                found.append(evidence)
    return found


def _of_window(timeline: Timeline, view: LedgerView, period: DeploymentPeriod, window: Window) -> WindowEvidence | None:
    drift = view.newest_report("drift", window.id)
    performance = view.newest_report("performance", window.id)
    if drift is None or performance is None:
        return None
    if {drift.deployment_period, performance.deployment_period} != {period.number}:
        return None
    distance, loss = drift.typed, performance.typed
    if not isinstance(distance, DriftSummary) or not isinstance(loss, PerformanceSummary):
        raise TypeError(f"the reports of window {window.id} have summaries of other reports")
    # a loss by a metric that the YAML named earlier cannot be compared with the present one
    comparable = loss.metric == timeline.spec.problem.metric
    # a window with few rows can count for its loss while drift, over `monitoring.current`, has not enough rows yet
    too_few_rows = distance.window_rows < timeline.spec.monitoring.min_rows
    return WindowEvidence(
        window=window.id,
        end=window.end,
        stage=performance.stage,
        too_few_rows=too_few_rows,
        rows=loss.deployment_period_rows,
        loss=loss.deployment_period if comparable else None,
        prediction_drift=distance.prediction,
        data_drift_share=distance.share,
    )


def loop_state(timeline: Timeline, view: LedgerView, period: DeploymentPeriod, *, new_rows: int) -> LoopState:
    """Return the state of the loop that a policy depends on, in addition to the reports.

    Args:
        timeline: the project's time.
        view: the project's ledger.
        period: the present deployment period.
        new_rows: number of labelled rows since the champion's training.
    """
    consumed = view.consumed_through(period)
    decisions = [d for d in view.decisions if d.deployment_period == period.number]
    fresh = [d for d in decisions if consumed is None or d.at > consumed]
    recorded = {e.identity: e for decision in fresh for e in decision.evidence}
    # a RETRAIN of an earlier period may still be open: a person's request without evidence stays open over a rollback
    open_retrains = [d for d in decisions if d.outcome == "RETRAIN" and not view.is_closed(d.id)]
    return LoopState(
        project=view.project,
        deployment_period=_period_facts(timeline, view, period),
        consumed_through=consumed,
        cooldown_from=view.cooldown_from,
        trainings=_trainings_in_budget(view),
        recorded=list(recorded.values()),
        in_progress=open_retrains[0].id if open_retrains else None,
        collected=[d.id for d in decisions if d.outcome == "COLLECT"],
        new_rows=new_rows,
        held=view.held,
        zone=timeline.spec.data.time_zone,
    )


def _trainings_in_budget(view: LedgerView) -> list[datetime]:
    """Return `as_of` of the trainings that count against the budget: those of the policy, failed ones included.

    Skipped and interrupted ones do not count: an outage must not use up the budget.
    """
    free = {fact.run_id for fact in view.ended_trainings if fact.outcome in ("SKIPPED", "INTERRUPTED")}
    return [fact.at for fact in view.started_trainings if fact.by == "policy" and fact.run_id not in free]


def _period_facts(timeline: Timeline, view: LedgerView, period: DeploymentPeriod) -> DeploymentPeriodFacts:
    version = view.versions[period.version]
    first_losses: list[float] | None = None
    if period.cause == "rollback":
        first_period = next(other for other in view.deployment_periods if other.version == period.version)
        ended = timeline.ended_windows(period.start)
        windows = window_evidence(timeline, view, first_period, ended[-1]) if ended else []
        first_losses = [w.loss for w in windows if w.loss is not None] or None
    comparable = version.metric in (None, timeline.spec.problem.metric)
    return DeploymentPeriodFacts(
        number=period.number,
        version=period.version,
        start=period.start,
        version_as_of=version.as_of,
        holdout_loss=version.holdout_loss if comparable else None,
        first_losses=first_losses,
    )
