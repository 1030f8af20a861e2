from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from example_project import ATTRIBUTES, PROMOTED, TRAINED, VERSION_1

from mlops_assets.ledger.facts import Decided, PromotionStep, Reported
from mlops_assets.ledger.summaries import DriftSummary, PerformanceSummary
from mlops_assets.ledger.view import LedgerView
from mlops_assets.loop.outstanding import Score, outstanding
from mlops_assets.retraining.decide import decide, person_decision
from mlops_assets.retraining.policy_inputs import loop_state, window_evidence
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, Window

NEXT_DAY = TRAINED + timedelta(days=1)


def timeline_of(**parts: Any) -> Timeline:
    return Timeline(ProjectSpec.model_validate({**ATTRIBUTES, **parts}))


def reports(window: Window, rows: int, loss: float | None) -> list[Reported]:
    """Return the drift and performance reports of a window, with the loss by mae."""
    drift = DriftSummary(verdict="too young", rows=rows, window_rows=rows, statistic="wasserstein", threshold=0.1)
    performance = PerformanceSummary(
        pending=False, labels_at=NEXT_DAY, metric="mae", deployment_period_rows=rows, deployment_period=loss
    )
    return [
        Reported(
            at=NEXT_DAY,
            report=name,
            window=window.id,
            stage="labelled",
            deployment_period=1,
            version=1,
            summary=summary.model_dump(mode="json"),
            inputs={},
        )
        for name, summary in (("drift", drift), ("performance", performance))
    ]


@pytest.mark.parametrize(("rows", "too_few"), [(1, True), (2, False), (3, False)])
def test_window_counts_for_its_loss_before_drift_has_enough_rows(rows: int, too_few: bool) -> None:
    """A single weekly series has one or two rows per window, so drift needs months until it has enough rows."""
    timeline = timeline_of(monitoring={**ATTRIBUTES["monitoring"], "min_rows": 2})
    window = timeline.window_at(TRAINED)
    view = LedgerView("example", (PROMOTED, *reports(window, rows, None if too_few else 1.5)))
    (found,) = window_evidence(timeline, view, view.deployment_periods[0], window)
    assert (found.too_few_rows, found.loss) == (too_few, None if too_few else 1.5)
    assert found.data_drift_share is None
    assert not found.prediction_drift


@pytest.mark.parametrize(("metric", "comparable"), [("mae", True), ("mse", False)])
def test_losses_by_another_metric_than_the_present_one_are_no_evidence(metric: str, comparable: bool) -> None:
    timeline = timeline_of(problem={**ATTRIBUTES["problem"], "metric": metric})
    window = timeline.window_at(TRAINED)
    trained = VERSION_1
    view = LedgerView("example", (trained, PROMOTED, *reports(window, 20, 1.5)))
    (found,) = window_evidence(timeline, view, view.deployment_periods[0], window)
    around = loop_state(timeline, view, view.deployment_periods[0], new_rows=0)
    assert (found.loss, around.deployment_period.holdout_loss) == ((1.5, 1.25) if comparable else (None, None))
    decision = decide(timeline.spec.retraining, [found], around, NEXT_DAY, window=window.id, stage="labelled")
    assert ("measured by another metric" in str(decision)) is not comparable


def test_deployment_period_that_begins_at_the_end_of_the_data_has_no_evidence() -> None:
    """This is a promotion or a rollback at the end of the last whole window."""
    timeline = timeline_of(data={**ATTRIBUTES["data"], "end": "2020-01-23"})
    last = timeline.window_at(TRAINED + timedelta(days=1))
    trained = VERSION_1
    back = PromotionStep(at=last.end, promotion="q", step="PROMOTED", version=1, previous=1, cause="rollback")
    view = LedgerView("example", (trained, PROMOTED, *reports(last, 20, 1.5), back))
    deployment_period = view.deployment_periods[-1]
    assert (deployment_period.number, deployment_period.start) == (2, last.end)
    assert window_evidence(timeline, view, deployment_period, last) == []
    assert loop_state(timeline, view, deployment_period, new_rows=0).deployment_period.first_losses == [1.5]


def test_open_request_of_an_earlier_period_does_not_hide_a_later_one() -> None:
    timeline = timeline_of()
    decided = [
        Decided(
            at=NEXT_DAY + timedelta(hours=n),
            decision=person_decision("example", deployment_period, f"request {n}", [], NEXT_DAY + timedelta(hours=n)),
        )
        for n, deployment_period in enumerate((1, 2))
    ]
    back = PromotionStep(at=NEXT_DAY, promotion="q", step="PROMOTED", version=1, previous=1, cause="rollback")
    view = LedgerView("example", (VERSION_1, PROMOTED, back, *decided))
    assert view.open_retrain == decided[0].decision
    facts = loop_state(timeline, view, view.deployment_periods[-1], new_rows=0)
    assert facts.in_progress == decided[1].decision.id


def test_tick_before_the_first_versions_as_of_scores_nothing() -> None:
    """By the wall clock, a bootstrap begins between two ticks, and the last tick lies before its `as_of`."""
    timeline = timeline_of()
    as_of = TRAINED + timedelta(hours=2)
    trained = VERSION_1.model_copy(update={"as_of": as_of})
    view = LedgerView("example", (trained, PROMOTED.model_copy(update={"at": as_of})))
    early = [work for work in outstanding(timeline, view, as_of + timedelta(hours=1)) if isinstance(work, Score)]
    assert early == []
    later = [work for work in outstanding(timeline, view, TRAINED + timedelta(hours=6)) if isinstance(work, Score)]
    assert later == [Score(TRAINED + timedelta(hours=6))]
