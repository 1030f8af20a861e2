from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_assets.ledger.facts import DeploymentPeriod
from mlops_assets.monitoring.performance import PerformanceReport, compare_losses, performance_report
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline, Window, event_id

START = datetime(2011, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass
class Case:
    """A project of 40 days whose labels are the number of their hour; predictions are the label plus an error."""

    spec: ProjectSpec

    def __post_init__(self) -> None:
        self.timeline = Timeline(self.spec)
        times = pd.date_range(START, periods=24 * 40, freq="1h").astype("datetime64[ns, UTC]")
        self.series = pd.DataFrame({"event_time": times, "y": np.arange(24.0 * 40)})
        self.window = Window(START + 30 * DAY, START + 31 * DAY)

    def predicted(
        self,
        error: float,
        version: int = 2,
        role: str = "champion",
        window: Window | None = None,
        hours: Sequence[int] | None = None,
    ) -> pd.DataFrame:
        window = window or self.window
        rows = self.series[(self.series["event_time"] >= window.start) & (self.series["event_time"] < window.end)]
        rows = rows.iloc[list(hours)] if hours is not None else rows
        return pd.DataFrame(
            {
                "event_id": [event_id("small", None, moment.to_pydatetime()) for moment in rows["event_time"]],
                "event_time": rows["event_time"],
                "entity": None,
                "due": rows["event_time"] - self.timeline.horizon,
                "role": role,
                "version": version,
                "prediction": rows["y"] + error,
            }
        ).reset_index(drop=True)

    def report(self, *predicted: pd.DataFrame, **changes: Any) -> PerformanceReport:
        given = pd.concat(predicted, ignore_index=True)
        arguments: dict[str, Any] = {
            "window": self.window,
            "stage": "labelled",
            "predictions": given,
            "labels": self.series,
            "series": self.series,
            "deployment_period": DeploymentPeriod(
                number=2, version=2, start=START + 20 * DAY, end=None, cause="retraining", promotion="p"
            ),
            "period_predictions": given,
            "shadow_version": 1,
            "promised_gain": None,
            "known_until": START + 20 * DAY,
        }
        return performance_report(spec=self.spec, timeline=self.timeline, **(arguments | changes))


@pytest.fixture
def case(make_spec: Any) -> Case:
    return Case(make_spec())


def test_served_shadow_and_baseline_are_compared_over_the_same_events(case: Case) -> None:
    summary = case.report(case.predicted(3), case.predicted(-8, version=1, role="shadow")).summary
    assert (summary.served, summary.shadow, summary.deployment_period) == (3, 8, 3)
    assert summary.baseline == 168  # labels grow by one an hour
    assert (summary.rows, summary.deployment_period_rows) == (24, 24)
    assert not summary.pending


def test_events_without_shadow_prediction_are_left_out_and_counted(case: Case) -> None:
    served = case.predicted(3).assign(prediction=lambda rows: rows["prediction"] + 100 * (rows.index < 4))
    report = case.report(served, case.predicted(8, version=1, role="shadow", hours=range(4, 24)))
    assert (report.summary.served, report.summary.shadow) == (3, 8)
    assert report.left_out == 4
    assert report.summary.deployment_period == pytest.approx(
        3 + 100 * 4 / 24
    )  # the policy reads all predictions of the deployment period


def test_shadow_without_predictions_does_not_hide_the_others(case: Case) -> None:
    report = case.report(case.predicted(3))
    assert (report.summary.served, report.summary.shadow, report.summary.baseline) == (3, None, 168)
    assert report.left_out == 0


def test_events_without_baseline_are_left_out(case: Case) -> None:
    missing = case.series[~case.series["event_time"].dt.hour.isin([0, 1])]
    report = case.report(case.predicted(3), case.predicted(8, version=1, role="shadow"), series=missing)
    assert report.left_out == 2
    assert report.summary.baseline == 168


def test_shadow_equals_served_before_the_first_retraining(case: Case) -> None:
    summary = case.report(case.predicted(3, version=1)).summary
    assert summary.served == summary.shadow == 3


def test_only_champion_predictions_count_as_served(case: Case) -> None:
    others = [case.predicted(500, role="ad_hoc"), case.predicted(500, version=3, role="shadow")]
    summary = case.report(case.predicted(3), *others).summary
    assert (summary.served, summary.rows) == (3, 24)


def test_prediction_belongs_to_the_period_of_its_version(case: Case) -> None:
    old, new = case.predicted(9, version=1, hours=range(12)), case.predicted(3, version=2, hours=range(12, 24))
    report = case.report(old, new, case.predicted(9, version=1, role="shadow", hours=range(12, 24)))
    assert (report.summary.served, report.summary.deployment_period, report.summary.deployment_period_rows) == (
        6,
        3,
        12,
    )
    assert report.summary.shadow == 9
    assert report.versions.to_dict("list") == {"version": [1, 2], "rows": [12, 12], "loss": [9.0, 3.0]}


def test_rollback_starts_a_period_without_earlier_predictions(case: Case) -> None:
    back = DeploymentPeriod(
        number=3, version=2, start=case.window.start - DAY + 12 * HOUR, end=None, cause="rollback", promotion="q"
    )
    summary = case.report(case.predicted(3), deployment_period=back).summary
    assert (summary.rows, summary.deployment_period_rows) == (24, 12)
    ended = back.model_copy(update={"start": START, "end": back.start})
    assert case.report(case.predicted(3), deployment_period=ended).summary.deployment_period_rows == 12


def test_period_loss_is_missing_with_too_few_predictions(case: Case) -> None:
    nine, ten = (case.report(case.predicted(3, hours=range(n))).summary for n in (9, 10))
    assert (nine.deployment_period, nine.deployment_period_rows, nine.served) == (None, 9, 3)
    assert ten.deployment_period == 3


def test_missed_events_and_unpublished_labels_do_not_count(case: Case) -> None:
    served = case.predicted(3, hours=range(20))
    report = case.report(served, labels=case.series[case.series["event_time"].dt.hour < 15])
    assert (report.summary.rows, report.unlabelled) == (15, 5)
    nothing = case.report(served, labels=case.series[:0])
    assert (nothing.summary.rows, nothing.unlabelled) == (0, 20)
    assert nothing.summary.served is nothing.summary.baseline is nothing.summary.deployment_period is None
    assert not nothing.summary.pending


def test_window_without_predictions_has_no_losses(case: Case) -> None:
    summary = case.report(case.predicted(3, hours=[])).summary
    assert (summary.rows, summary.served, summary.shadow, summary.baseline) == (0, None, None, None)


def test_predictions_outside_the_window_do_not_count(case: Case) -> None:
    next_day = Window(case.window.end, case.window.end + DAY)
    summary = case.report(case.predicted(3), case.predicted(90, window=next_day)).summary
    assert (summary.rows, summary.served) == (24, 3)


def test_ended_stage_is_pending_when_labels_are_late(case: Case, make_spec: Any) -> None:
    late = Case(make_spec(labels={"delay": "24h"}))
    pending = late.report(late.predicted(3), stage="ended").summary
    assert pending.pending
    assert pending.labels_at == late.window.end + DAY
    assert (pending.served, pending.rows) == (None, 0)
    assert not late.report(late.predicted(3)).summary.pending
    assert not case.report(case.predicted(3), stage="ended").summary.pending  # without a delay there is one stage


def test_realised_gain_covers_the_period_so_far(case: Case) -> None:
    days = [Window(case.window.start - n * DAY, case.window.end - n * DAY) for n in (2, 1, 0, -1)]
    history = [case.predicted(error, window=day) for error, day in zip((2, 3, 4, 900), days, strict=True)]
    history += [case.predicted(12, version=1, role="shadow", window=day) for day in days]
    so_far = pd.concat(history, ignore_index=True)
    summary = case.report(*history, promised_gain=0.3, period_predictions=so_far).summary
    assert summary.realised_gain == pytest.approx(1 - 3 / 12)  # the day after the window is not looked at
    assert summary.promised_gain == 0.3
    assert case.report(*history, period_predictions=so_far).summary.realised_gain is None


def test_entities_are_compared_separately(make_spec: Any) -> None:
    case = Case(make_spec(data={"entity": "shop"}))
    case.series = pd.concat(
        [case.series.assign(entity="a"), case.series.assign(entity="b", y=lambda rows: rows["y"] * 2)],
        ignore_index=True,
    )
    rows = case.series[(case.series["event_time"] >= case.window.start) & (case.series["event_time"] < case.window.end)]
    predicted = rows.assign(
        event_id=[
            event_id("small", entity, time.to_pydatetime())
            for entity, time in zip(rows["entity"], rows["event_time"], strict=True)
        ],
        due=rows["event_time"] - DAY,
        role="champion",
        version=2,
        prediction=rows["y"] + np.where(rows["entity"] == "a", 1.0, 3.0),
    ).drop(columns="y")
    summary = case.report(predicted).summary
    assert (summary.rows, summary.served, summary.baseline) == (48, 2, 168 * 1.5)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "roc_auc"])
def test_classes_are_compared_by_any_metric(make_spec: Any, metric: str) -> None:
    case = Case(make_spec("classification", problem={"metric": metric}))
    case.series["y"] = np.where(case.series["event_time"].dt.hour % 3 == 0, "UP", "DOWN")
    predicted = case.predicted(0, hours=[]).drop(columns="prediction")
    rows = case.series[(case.series["event_time"] >= case.window.start) & (case.series["event_time"] < case.window.end)]
    sure = np.where(rows["y"] == "UP", 0.9, 0.1)
    made = {"probability_UP": sure, "probability_DOWN": 1 - sure, "prediction": rows["y"]}
    predicted = pd.DataFrame(
        {"event_id": rows.index.astype(str), "event_time": rows["event_time"], "due": rows["event_time"] - DAY}
        | {"entity": None, "role": "champion", "version": 2}
        | made
    )
    shadow = predicted.assign(role="shadow", version=1, probability_UP=0.5, probability_DOWN=0.5, prediction="DOWN")
    report = case.report(predicted, shadow)
    assert report.summary.served is not None
    assert report.summary.shadow is not None
    assert report.summary.served < report.summary.shadow
    assert report.summary.baseline == pytest.approx(
        {"accuracy": 0, "log_loss": -np.log(2 / 3), "roc_auc": 0}[metric], abs=1e-9
    )


def test_window_with_one_class_has_no_roc_auc(make_spec: Any) -> None:
    case = Case(make_spec("classification", problem={"metric": "roc_auc"}))
    predicted = case.predicted(0.0).assign(prediction="UP", probability_UP=0.9, probability_DOWN=0.1)
    case.series["y"] = "UP"
    summary = case.report(predicted).summary
    assert summary.rows == 24
    assert summary.served is summary.deployment_period is summary.baseline is None


def test_report_made_again_is_the_same(case: Case) -> None:
    predicted = [case.predicted(3), case.predicted(8, version=1, role="shadow")]
    shuffled = [frame.sample(frac=1, random_state=1) for frame in predicted[::-1]]
    assert case.report(*predicted).summary == case.report(*shuffled).summary
    pd.testing.assert_frame_equal(case.report(*predicted).rows, case.report(*shuffled).rows)


def compare(case: Case, *predicted: pd.DataFrame, since: datetime) -> Any:
    return compare_losses(
        spec=case.spec,
        timeline=case.timeline,
        predictions=pd.concat(predicted, ignore_index=True),
        labels=case.series,
        series=case.series,
        first_version=1,
        since=since,
        known_until=since,
    )


def test_status_compares_events_due_since_the_first_retraining(case: Case) -> None:
    days = [Window(case.window.start + n * DAY, case.window.end + n * DAY) for n in range(3)]
    served = [case.predicted(error, window=day) for error, day in zip((50, 2, 4), days, strict=True)]
    first = [case.predicted(9, version=1, role="shadow", window=day) for day in days]
    since = days[1].start - DAY  # what is due then lies in the second window
    assert compare(case, *served, *first, since=since) == {
        "served": 3,
        "first_model": 9,
        "baseline": 168,
        "windows": 2,
    }
    assert compare(case, *served, first[1], since=since)["windows"] == 1


def test_status_has_no_comparison_without_common_events(case: Case) -> None:
    assert compare(case, case.predicted(3), since=START) is None
    later = START + 39 * DAY
    assert compare(case, case.predicted(3), case.predicted(9, version=1, role="shadow"), since=later) is None
