from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_assets.errors import ModelError, NotReady
from mlops_assets.monitoring.drift import DriftReport, drift_report
from mlops_assets.spec import MonitoringSpec

CLASSES = ["UP", "DOWN"]


def rows(count: int = 400, seed: int = 0, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {"a": rng.normal(0, 1, count), "b": rng.normal(5, 2, count)}
    made |= {"weather": rng.choice(["dry", "wet", "snow"], count, p=[0.6, 0.3, 0.1])}
    made |= {"prediction": rng.gamma(2, 50, count)}
    return pd.DataFrame(made | columns)


def report(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    statistics: list[Any] | None = None,
    task: Any = "regression",
    **spec: Any,
) -> DriftReport:
    return drift_report(
        reference,
        current,
        spec=MonitoringSpec.model_validate(spec),
        statistics=statistics or [],
        task=task,
        classes=CLASSES if task == "classification" else [],
        project="small",
    )


@pytest.fixture(scope="module")
def moved() -> DriftReport:
    """Return rows in which `a` moved by half its spread and predictions doubled; `b` and `weather` are unchanged."""
    current = rows(seed=1)
    return report(
        rows(), current.assign(a=current["a"] + 0.5, prediction=current["prediction"] * 2), ["psi", "hellinger"]
    )


def test_rows_like_the_reference_have_no_drift() -> None:
    summary = report(rows(2000), rows(2000, seed=1)).summary
    assert summary.verdict == "no drift"
    assert summary.share == 0
    assert summary.rows == 2000
    assert all(distance < 0.1 for distance in summary.columns.values())


def test_only_the_moved_column_has_drifted(moved: DriftReport) -> None:
    assert set(moved.summary.columns) == {"a", "b", "weather"}
    assert moved.summary.columns["a"] == pytest.approx(0.5, abs=0.15)
    assert max(moved.summary.columns["b"], moved.summary.columns["weather"]) < 0.2
    assert moved.summary.share == pytest.approx(sum(d >= 0.1 for d in moved.summary.columns.values()) / 3)


def test_wasserstein_is_in_standard_deviations_of_the_reference() -> None:
    reference, current = rows(), rows(seed=1)
    current["a"] += 0.5
    scaled = [frame.assign(a=frame["a"] * 1000 + 7) for frame in (reference, current)]
    plain, wide = (report(pair[0], pair[1]).summary.columns["a"] for pair in ((reference, current), scaled))
    assert wide == pytest.approx(plain)


def test_predictions_have_each_statistic_that_the_policy_reads(moved: DriftReport) -> None:
    assert list(moved.summary.prediction) == ["wasserstein", "psi", "hellinger"]
    assert moved.summary.prediction["psi"] > 0.2
    assert 0 < moved.summary.prediction["hellinger"] < 1


def test_predictions_do_not_count_among_the_columns() -> None:
    current = rows(seed=1)
    summary = report(rows(), current.assign(prediction=current["prediction"] * 10)).summary
    assert summary.prediction["wasserstein"] > 1
    assert "prediction" not in summary.columns
    assert summary.verdict == "no drift"


def test_column_named_like_a_probability_is_a_feature_column() -> None:
    reference, current = rows(), rows(seed=1)
    frames = [frame.assign(probability_of_rain=frame["a"] + at) for frame, at in ((reference, 0.0), (current, 3.0))]
    assert report(frames[0], frames[1]).summary.columns["probability_of_rain"] > 1


def test_the_verdict_follows_the_share_of_drifted_columns() -> None:
    current = rows(seed=1)
    current["a"] += 1
    assert report(rows(), current, drift={"share": 0.3, "threshold": 0.3}).summary.verdict == "drift"
    assert report(rows(), current, drift={"share": 0.4, "threshold": 0.3}).summary.verdict == "no drift"


def test_too_few_rows_are_too_young(tmp_path: Path) -> None:
    young = report(rows(), rows(99), min_rows=100)
    assert young.summary.verdict == "too young"
    assert young.summary.rows == 99
    assert young.summary.share is None
    assert not young.summary.columns
    young.save_html(tmp_path / "page.html")
    assert "too young" in (tmp_path / "page.html").read_text()
    assert report(rows(), rows(100), min_rows=100).summary.verdict != "too young"


def test_fewer_than_ten_rows_are_always_too_young() -> None:
    assert report(rows(), rows(9), min_rows=1).summary.verdict == "too young"
    assert report(rows(), rows(10), min_rows=1).summary.verdict != "too young"


def test_deployment_period_without_predictions_is_too_young() -> None:
    assert report(rows(), pd.DataFrame()).summary.verdict == "too young"


@pytest.mark.parametrize("statistic", ["wasserstein", "psi", "jensenshannon", "hellinger"])
def test_each_statistic_detects_moved_numbers_and_categories(statistic: str) -> None:
    current = rows(seed=1, weather="snow")
    current["a"] += 2
    summary = report(rows(), current, drift={"statistic": statistic}).summary
    assert summary.statistic == statistic
    assert summary.columns["a"] > 0.3
    assert summary.columns["weather"] > 0.3
    assert summary.columns["b"] < summary.columns["a"] / 2
    still = report(rows(), rows(), drift={"statistic": statistic}).summary
    assert still.columns == {"a": 0, "b": 0, "weather": 0}


def test_categories_use_jensenshannon_instead_of_wasserstein() -> None:
    current = rows(seed=1, weather="snow")
    by_statistic = {
        name: report(rows(), current, drift={"statistic": name}) for name in ("wasserstein", "jensenshannon")
    }
    assert (
        by_statistic["wasserstein"].summary.columns["weather"]
        == by_statistic["jensenshannon"].summary.columns["weather"]
    )


@pytest.mark.parametrize("statistic", ["wasserstein", "psi", "jensenshannon", "hellinger"])
def test_predicted_classes_drift_in_every_statistic(statistic: Any) -> None:
    probability = np.random.default_rng(0).random(400)
    shares: dict[str, Any] = {"probability_UP": probability, "probability_DOWN": 1 - probability}
    reference = rows(**shares, prediction=np.where(probability > 0.5, "UP", "DOWN"))
    shifted = rows(seed=1, **shares, prediction=np.where(probability > 0.1, "UP", "DOWN"))
    summary = report(reference, shifted, [statistic], task="classification").summary
    assert summary.prediction[statistic] > 0.15
    assert set(summary.columns) == {"a", "b", "weather"}
    assert report(reference, reference, [statistic], task="classification").summary.prediction[statistic] == 0


def test_unknown_predicted_class_is_refused() -> None:
    with pytest.raises(ModelError, match="SIDEWAYS"):
        report(rows(prediction="UP"), rows(prediction="SIDEWAYS"), task="classification")


@pytest.mark.parametrize("empty", [np.nan, None])
def test_column_without_values_on_both_sides_does_not_count(empty: Any) -> None:
    current = rows(seed=1, nothing=empty)
    current["a"] += 1
    found = report(rows(nothing=empty), current, drift={"threshold": 0.3})
    assert found.left_out == ("nothing",)
    assert "nothing" not in found.summary.columns
    assert found.summary.share == pytest.approx(1 / 3)


@pytest.mark.parametrize("statistic", ["wasserstein", "psi", "hellinger"])
def test_column_that_loses_all_values_has_drifted(statistic: str) -> None:
    found = report(rows(), rows(seed=1, a=np.nan), drift={"statistic": statistic})
    assert found.summary.columns["a"] > 0.5
    assert any(note.startswith("a: no value in the live rows") for note in found.notes)
    back = report(rows(a=np.nan), rows(seed=1), drift={"statistic": statistic})
    assert back.summary.columns["a"] > 0.5


@pytest.mark.parametrize("statistic", ["wasserstein", "psi", "jensenshannon", "hellinger"])
def test_constant_drifts_only_when_it_changes(statistic: str) -> None:
    constants = {"nought": 0.0, "seven": 7.5, "tiny": 1e-9, "huge": 1e12}
    prediction = rows()["prediction"]
    reference = pd.DataFrame({"prediction": prediction} | constants)
    noise = 1 + 1e-13 * np.arange(400)  # as rounding leaves it
    still = pd.DataFrame({"prediction": prediction} | {name: value * noise for name, value in constants.items()})
    gone = pd.DataFrame({"prediction": prediction} | {name: value * 1.2 + 0.2 for name, value in constants.items()})
    few = pd.concat([gone[:2], reference[2:]])
    found = [report(reference, each, drift={"statistic": statistic}) for each in (still, gone, few)]
    assert found[0].summary.columns == dict.fromkeys(constants, 0)
    assert all(0.5 < distance < 20 for distance in found[1].summary.columns.values())
    assert all(0 < distance < 0.1 for distance in found[2].summary.columns.values())
    assert found[2].notes[0] == "nought: always 0 in the reference, compared as same/other"


def test_column_of_tiny_numbers_drifts_like_any_other() -> None:
    reference, current = rows(), rows(seed=1)
    current["a"] += 0.5
    tiny = [frame.assign(a=frame["a"] * 1e-6) for frame in (reference, current)]
    assert report(tiny[0], tiny[1]).summary.columns["a"] == pytest.approx(
        report(reference, current).summary.columns["a"]
    )


def test_single_missing_and_infinite_values_are_left_out() -> None:
    reference, current = rows(), rows(seed=1)
    holes = current.assign(
        a=current["a"].where(current.index % 80 != 0, np.inf), weather=current["weather"].where(current.index % 80 != 0)
    )
    kept = current[current.index % 80 != 0]
    assert report(reference, holes).summary.columns["a"] == report(reference, kept).summary.columns["a"]
    assert report(reference, holes).summary.columns["weather"] == report(reference, kept).summary.columns["weather"]


@pytest.mark.parametrize("statistic", ["wasserstein", "psi", "jensenshannon", "hellinger"])
def test_more_missing_values_are_drift_by_their_share(statistic: str) -> None:
    reference = rows().assign(a=lambda frame: frame["a"].where(frame.index % 50 != 0))
    faded = rows().assign(a=lambda frame: frame["a"].where(frame.index % 5 > 1))
    found = report(reference, faded, drift={"statistic": statistic})
    assert found.summary.columns["a"] == pytest.approx(0.38)
    assert "a: missing in 2% of the reference rows and in 40% of the live rows" in found.notes
    assert report(faded, reference, drift={"statistic": statistic}).summary.columns["a"] == pytest.approx(0.38)
    assert report(faded, faded, drift={"statistic": statistic}).summary.columns["a"] == pytest.approx(0, abs=1e-6)


def test_predictions_before_the_holdout_may_be_missing_in_the_reference() -> None:
    reference = rows()
    late = reference.assign(prediction=reference["prediction"].where(reference.index >= 300))
    found = report(late, rows(seed=1)).summary.prediction
    assert found == report(reference[300:].reset_index(drop=True), rows(seed=1)).summary.prediction


def test_booleans_are_compared_and_the_time_column_is_ignored() -> None:
    times = pd.date_range("2011-01-01", periods=400, freq="1h", tz="UTC")
    on = np.arange(400) % 2 == 0
    summary = report(rows(on=on, event_time=times), rows(on=True, seed=1)).summary
    assert summary.columns["on"] == pytest.approx(1.0)
    assert "event_time" not in summary.columns


@pytest.mark.parametrize("side", ["reference", "live rows"])
def test_column_of_one_side_only_is_an_error_that_names_it(side: str) -> None:
    one, other = rows(extra=1.0), rows()
    reference, current = (one, other) if side == "reference" else (other, one)
    with pytest.raises(ModelError, match="extra"):
        report(reference, current)


def test_rows_without_predictions_and_an_empty_reference_are_refused() -> None:
    with pytest.raises(ModelError, match="prediction"):
        report(rows().drop(columns="prediction"), rows().drop(columns="prediction"))
    with pytest.raises(NotReady, match="no rows"):
        report(rows(0), rows())


def test_sample_is_limited_and_reproducible() -> None:
    long = rows(1000, seed=1)
    first, again = (report(rows(), long, sample=200).summary for _ in range(2))
    assert first == again
    assert first.rows == 1000
    assert first != report(rows(), long).summary


def test_page_is_complete_and_says_what_is_compared(moved: DriftReport, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "page.html"
    moved.save_html(path)
    page = path.read_text()
    assert page == moved.html()
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]
    assert page.rstrip().endswith("</html>")
    assert "standard deviation" in page
    assert "Drift of small" in page
    for text in ("weather", "prediction", "PSI", "Wasserstein distance (normed)"):
        assert text in page
