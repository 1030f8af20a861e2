from __future__ import annotations

from datetime import timedelta

import pytest
from tide import ATTRIBUTES, TRAINED

from mlops_assets.retraining.gather import window_evidence
from mlops_assets.retraining.history import History
from mlops_assets.retraining.records import PromotionStep, Reported
from mlops_assets.retraining.summaries import DriftSummary, PerformanceSummary
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline


@pytest.mark.parametrize(("rows", "young"), [(1, True), (2, False), (3, False)])
def test_a_window_counts_for_its_loss_before_drift_has_rows_enough(rows: int, young: bool) -> None:
    """A single weekly series: a row or two a window, and ten are not together for months."""
    monitoring = {**ATTRIBUTES["monitoring"], "min_rows": 2}
    timeline = Timeline(ProjectSpec.model_validate({**ATTRIBUTES, "monitoring": monitoring}))
    window, at = timeline.window_at(TRAINED), TRAINED + timedelta(days=1)
    drift = DriftSummary(verdict="too young", rows=rows, window_rows=rows, statistic="wasserstein", threshold=0.1)
    loss = PerformanceSummary(pending=False, labels_at=at, metric="mae", reign_rows=rows, reign=None if young else 1.5)
    reports = [
        Reported(
            at=at,
            report=name,
            window=window.id,
            stage="labelled",
            reign=1,
            version=1,
            summary=summary.model_dump(mode="json"),
            inputs={},
        )
        for name, summary in (("drift", drift), ("performance", loss))
    ]
    crowned = PromotionStep(at=TRAINED, promotion="p", step="PROMOTED", version=1, previous=None, cause="bootstrap")
    history = History("tide", (crowned, *reports))
    (found,) = window_evidence(timeline, history, history.reigns[0], window)
    assert (found.too_young, found.loss) == (young, None if young else 1.5)
    assert found.data_drift_share is None
    assert not found.prediction_drift
