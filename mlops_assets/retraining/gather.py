"""From the ledger to `decide`: the evidence of a reign and what happened around it. Pure."""

from __future__ import annotations

from datetime import datetime

from mlops_assets.retraining.evidence import LoopHistory, ReignFacts, WindowEvidence
from mlops_assets.retraining.history import History
from mlops_assets.retraining.records import Reign, Stage
from mlops_assets.retraining.summaries import DriftSummary, PerformanceSummary
from mlops_assets.timeline import Timeline, Window


def window_evidence(timeline: Timeline, history: History, reign: Reign, until: Window) -> list[WindowEvidence]:
    """What the reports say of each window of a reign up to (and with) one window, oldest first.

    A repaired window's report is shown, but never decides anything: it stays out.
    """
    if reign.start >= until.end:
        return []  # a history that ends has no window from there on
    found = []
    for window in timeline.windows(timeline.window_at(reign.start).start, until.end):
        if window.id not in history.repaired and window.end > reign.start:
            evidence = _of_window(timeline, history, reign, window)
            if evidence is not None:
                found.append(evidence)
    return found


def _of_window(timeline: Timeline, history: History, reign: Reign, window: Window) -> WindowEvidence | None:
    drift = history.newest_report("drift", window.id)
    performance = history.newest_report("performance", window.id)
    if drift is None or performance is None or drift.reign != reign.number or performance.reign != reign.number:
        return None
    distance, loss = drift.typed, performance.typed
    if not isinstance(distance, DriftSummary) or not isinstance(loss, PerformanceSummary):
        raise TypeError(f"reports of window {window.id} carry the summaries of other reports")
    # losses by another metric, which the YAML named when they were reported, cannot be held against today's
    comparable = loss.metric == timeline.spec.problem.metric
    # a window of few rows may count for its loss though drift, over all of `monitoring.current`, has not enough yet
    too_young = distance.window_rows < timeline.spec.monitoring.min_rows
    stage: Stage = performance.stage
    return WindowEvidence(
        window=window.id,
        end=window.end,
        stage=stage,
        too_young=too_young,
        rows=loss.reign_rows,
        loss=loss.reign if comparable else None,
        prediction_drift=distance.prediction,
        data_drift_share=distance.share,
    )


def loop_history(timeline: Timeline, history: History, reign: Reign, *, new_rows: int) -> LoopHistory:
    """What `decide` must know beside the reports.

    Args:
        timeline: the project's time.
        history: the project's ledger.
        reign: the present reign.
        new_rows: labelled rows since the champion's training.
    """
    consumed = history.consumed_through(reign)
    of_reign = [d for d in history.decisions if d.reign == reign.number]
    fresh = [d for d in of_reign if consumed is None or d.at > consumed]
    standing = {e.identity: e for decision in fresh for e in decision.evidence}
    # one of another reign may still be open: a person's request without evidence outlives a rollback
    ours = [d for d in of_reign if d.outcome == "RETRAIN" and not history.acted_on(d.id)]
    return LoopHistory(
        project=history.project,
        reign=_reign_facts(timeline, history, reign),
        consumed_through=consumed,
        cooldown_from=history.cooldown_from,
        trainings=_budgeted(history),
        standing=list(standing.values()),
        in_progress=ours[0].id if ours else None,
        collected=[d.id for d in of_reign if d.outcome == "COLLECT"],
        new_rows=new_rows,
        held=history.held,
        zone=timeline.spec.data.time_zone,
    )


def _budgeted(history: History) -> list[datetime]:
    """Moments of the trainings that count against the budget: the policy's, failed ones too.

    Skipped ones do not, nor those that a server's absence interrupted: an outage would spend it.
    """
    free = {fact.run_id for fact in history.ended if fact.outcome in ("SKIPPED", "INTERRUPTED")}
    return [fact.at for fact in history.started if fact.by == "policy" and fact.run_id not in free]


def _reign_facts(timeline: Timeline, history: History, reign: Reign) -> ReignFacts:
    version = history.versions[reign.version]
    first_losses: list[float] | None = None
    if reign.cause == "rollback":
        first_reign = next(r for r in history.reigns if r.version == reign.version)
        ended = timeline.ended_windows(reign.start)
        windows = window_evidence(timeline, history, first_reign, ended[-1]) if ended else []
        first_losses = [w.loss for w in windows if w.loss is not None] or None
    comparable = version.metric in (None, timeline.spec.problem.metric)
    return ReignFacts(
        number=reign.number,
        version=reign.version,
        start=reign.start,
        version_as_of=version.as_of,
        holdout_loss=version.holdout_loss if comparable else None,
        first_losses=first_losses,
    )
