"""From the ledger to `decide`: the evidence of a deployment period and what happened around it. Pure."""

from __future__ import annotations

from datetime import datetime

from mlops_assets.ledger.facts import DeploymentPeriod, Stage
from mlops_assets.ledger.summaries import DriftSummary, PerformanceSummary
from mlops_assets.ledger.view import LedgerView
from mlops_assets.retraining.evidence import DeploymentPeriodFacts, LoopState, WindowEvidence
from mlops_assets.timeline import Timeline, Window


def window_evidence(
    timeline: Timeline, view: LedgerView, deployment_period: DeploymentPeriod, until: Window
) -> list[WindowEvidence]:
    """What the reports say of each window of a deployment period up to (and with) one window, oldest first.

    A repaired window's report is shown, but never decides anything: it stays out.
    """
    if deployment_period.start >= until.end:
        return []  # a history that ends has no window from there on
    found = []
    for window in timeline.windows(timeline.window_at(deployment_period.start).start, until.end):
        if window.id not in view.repaired and window.end > deployment_period.start:
            evidence = _of_window(timeline, view, deployment_period, window)
            if evidence is not None:
                found.append(evidence)
    return found


def _of_window(
    timeline: Timeline, view: LedgerView, deployment_period: DeploymentPeriod, window: Window
) -> WindowEvidence | None:
    drift = view.newest_report("drift", window.id)
    performance = view.newest_report("performance", window.id)
    if (
        drift is None
        or performance is None
        or drift.deployment_period != deployment_period.number
        or performance.deployment_period != deployment_period.number
    ):
        return None
    distance, loss = drift.typed, performance.typed
    if not isinstance(distance, DriftSummary) or not isinstance(loss, PerformanceSummary):
        raise TypeError(f"reports of window {window.id} carry the summaries of other reports")
    # losses by another metric, which the YAML named when they were reported, cannot be held against today's
    comparable = loss.metric == timeline.spec.problem.metric
    # a window of few rows may count for its loss though drift, over all of `monitoring.current`, has not enough yet
    too_few_rows = distance.window_rows < timeline.spec.monitoring.min_rows
    stage: Stage = performance.stage
    return WindowEvidence(
        window=window.id,
        end=window.end,
        stage=stage,
        too_few_rows=too_few_rows,
        rows=loss.deployment_period_rows,
        loss=loss.deployment_period if comparable else None,
        prediction_drift=distance.prediction,
        data_drift_share=distance.share,
    )


def loop_state(
    timeline: Timeline, view: LedgerView, deployment_period: DeploymentPeriod, *, new_rows: int
) -> LoopState:
    """What `decide` must know beside the reports.

    Args:
        timeline: the project's time.
        history: the project's ledger.
        deployment period: the present deployment period.
        new_rows: labelled rows since the champion's training.
    """
    consumed = view.consumed_through(deployment_period)
    of_deployment_period = [d for d in view.decisions if d.deployment_period == deployment_period.number]
    fresh = [d for d in of_deployment_period if consumed is None or d.at > consumed]
    standing = {e.identity: e for decision in fresh for e in decision.evidence}
    # one of another deployment period may still be open: a person's request without evidence outlives a rollback
    ours = [d for d in of_deployment_period if d.outcome == "RETRAIN" and not view.is_closed(d.id)]
    return LoopState(
        project=view.project,
        deployment_period=_deployment_period_facts(timeline, view, deployment_period),
        consumed_through=consumed,
        cooldown_from=view.cooldown_from,
        trainings=_budgeted(view),
        standing=list(standing.values()),
        in_progress=ours[0].id if ours else None,
        collected=[d.id for d in of_deployment_period if d.outcome == "COLLECT"],
        new_rows=new_rows,
        held=view.held,
        zone=timeline.spec.data.time_zone,
    )


def _budgeted(view: LedgerView) -> list[datetime]:
    """Moments of the trainings that count against the budget: the policy's, failed ones too.

    Skipped ones do not, nor those that a server's absence interrupted: an outage would spend it.
    """
    free = {fact.run_id for fact in view.ended_trainings if fact.outcome in ("SKIPPED", "INTERRUPTED")}
    return [fact.at for fact in view.started_trainings if fact.by == "policy" and fact.run_id not in free]


def _deployment_period_facts(
    timeline: Timeline, view: LedgerView, deployment_period: DeploymentPeriod
) -> DeploymentPeriodFacts:
    version = view.versions[deployment_period.version]
    first_losses: list[float] | None = None
    if deployment_period.cause == "rollback":
        first_deployment_period = next(r for r in view.deployment_periods if r.version == deployment_period.version)
        ended = timeline.ended_windows(deployment_period.start)
        windows = window_evidence(timeline, view, first_deployment_period, ended[-1]) if ended else []
        first_losses = [w.loss for w in windows if w.loss is not None] or None
    comparable = version.metric in (None, timeline.spec.problem.metric)
    return DeploymentPeriodFacts(
        number=deployment_period.number,
        version=deployment_period.version,
        start=deployment_period.start,
        version_as_of=version.as_of,
        holdout_loss=version.holdout_loss if comparable else None,
        first_losses=first_losses,
    )
