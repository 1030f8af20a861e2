from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mlops_assets.charts.drift import drift_over_time, drifted_columns
from mlops_assets.charts.figure import markdown_image
from mlops_assets.charts.model import leaderboard, variable_importance
from mlops_assets.charts.performance import error_over_time, loss_comparison
from mlops_assets.charts.predictions import predictions_against_labels
from mlops_assets.charts.service import live_features, service_over_time
from mlops_assets.charts.style import ALARM, BACKGROUND, CALM, ROLES

START = datetime(2011, 4, 2, 4, tzinfo=UTC)
RNG = np.random.default_rng(0)


def hours(days: int = 7, **sides: Any) -> pd.DataFrame:
    times = pd.date_range(START, periods=24 * days, freq="1h").astype("datetime64[ns, UTC]")
    labels = 200 + 150 * np.sin(np.arange(24 * days) / 24 * 2 * np.pi) + RNG.normal(0, 15, 24 * days)
    made = {name: labels + RNG.normal(0, spread, len(labels)) for name, spread in sides.items()}
    return pd.DataFrame({"event_time": times, "label": labels} | made)


def weeks(count: int = 30, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"window": [START + n * timedelta(days=7) for n in range(count)]} | columns)


@cache
def prediction_chart() -> bytes:
    return predictions_against_labels(hours(champion=20, shadow=60, baseline=40), unit="rentals per hour")


@cache
def longest_prediction_chart() -> bytes:
    return predictions_against_labels(hours(60, champion=20, candidate=30, shadow=60, baseline=40))


@cache
def classes() -> bytes:
    names = RNG.choice(["UP", "DOWN"], (336, 3))
    frame = pd.DataFrame(names, columns=["label", "champion", "baseline"])
    return predictions_against_labels(
        frame.assign(event_time=pd.date_range(START, periods=336, freq="30min", tz="UTC"))
    )


@cache
def error(metric: Any = "mae") -> bytes:
    losses = {"served": RNG.uniform(0.1, 0.3, 90), "shadow": RNG.uniform(0.3, 0.6, 90), "baseline": 0.5}
    changes = [(START + timedelta(days=70 * n), f"v{n + 1}") for n in range(8)]
    retrains = [when - timedelta(days=7) for when, _ in changes[1:]]
    return error_over_time(
        weeks(90, **losses), metric=metric, promotions=changes, retrains=retrains, unit="rentals per hour"
    )


@cache
def drift_chart() -> bytes:
    table = weeks(share=RNG.uniform(0, 1, 30), prediction=RNG.uniform(0, 0.4, 30))
    table.loc[[4, 5], ["share", "prediction"]] = np.nan
    return drift_over_time(
        table, share=0.5, statistic="psi", threshold=0.2, promotions=[(START + timedelta(days=21), "v2")]
    )


@cache
def drifted() -> bytes:
    scores = {f'cnt__agg_linear_trend__attr_"slope"__chunk_len_50__f_agg_"max"_{n}': n / 50 for n in range(30)}
    return drifted_columns(scores, threshold=0.1, statistic="wasserstein")


@cache
def leaderboard_chart() -> bytes:
    table = pd.DataFrame({"model_id": [f"XGBoost_{n}_AutoML_20110402" for n in range(12)], "mae": np.arange(12) + 30.0})
    return leaderboard(table, metric="mae")


@cache
def importance() -> bytes:
    share = np.sort(RNG.dirichlet(np.ones(40)))[::-1]
    return variable_importance(pd.DataFrame({"variable": [f"column_{n}" for n in range(40)], "percentage": share}))


@cache
def verdict() -> bytes:
    losses = {"candidate": 30.1, "champion": 41.9, "baseline": 49.0}
    return loss_comparison(losses, metric="mae", interval=(7.2, 16.1), unit="rentals per hour")


def request_log(days: int = 7) -> pd.DataFrame:
    times = pd.date_range(START, periods=24 * days, freq="1h")
    statuses = np.where(np.arange(len(times)) % 29 == 5, 500, np.where(np.arange(len(times)) % 31 == 7, 422, 200))
    return pd.DataFrame({"now": times, "status": statuses, "latency_ms": RNG.gamma(3, 1, len(times)), "rows": 3})


@cache
def service() -> bytes:
    return service_over_time(request_log(), step=timedelta(hours=1), limit_ms=50)


@cache
def features() -> bytes:
    columns = {f"known_{n}": RNG.normal(n, 1, 24 * 7) for n in range(9)}
    spread: dict[str, Any] = dict.fromkeys(columns, 1.0)
    return live_features(hours(**spread), list(columns))


ALL: list[Callable[[], bytes]] = [
    prediction_chart,
    longest_prediction_chart,
    classes,
    error,
    drift_chart,
    drifted,
    leaderboard_chart,
    importance,
    verdict,
    service,
    features,
]


def image(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGBA")


def pixels(png: bytes, colour: str, slack: int = 6) -> int:
    """Return the number of pixels of a colour; blends at edges are not counted."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(np.asarray(image(png))[..., :3].astype(int) - wanted) <= slack).all(axis=-1).sum())


@pytest.mark.parametrize("chart", ALL)
def test_each_chart_fits_into_metadata_and_is_transparent_outside_its_corners(chart: Callable[[], bytes]) -> None:
    png = chart()
    drawn = image(png)
    assert drawn.width == 880
    assert drawn.height <= 800
    assert len(markdown_image(png, "a chart")) < 60_000
    alpha = np.asarray(drawn)[..., 3]
    assert alpha[0, 0] == alpha[-1, -1] == 0  # round corners let the page through
    assert (alpha[10:-10, 10:-10] == 255).all()  # and the rest does not
    assert pixels(png, BACKGROUND, 3) > drawn.width * drawn.height / 4


@pytest.mark.parametrize("chart", ALL)
def test_nothing_is_cut_off_at_the_border(chart: Callable[[], bytes]) -> None:
    drawn = np.asarray(image(chart()))[..., :3].astype(int)
    inner = np.abs(drawn - drawn[20, 8]).max(axis=-1)
    assert inner[20:-20, 5:14].max() < 12
    assert inner[20:-20, -14:-5].max() < 12


def test_markdown_image_contains_the_png() -> None:
    png = verdict()
    text = markdown_image(png, "losses")
    assert text.startswith("![losses](data:image/png;base64,")
    assert base64.b64decode(text.removesuffix(")").split(",", 1)[1]) == png


def test_the_same_table_gives_the_same_png() -> None:
    assert verdict() == verdict.__wrapped__()


def test_each_role_has_the_same_colour_in_every_chart() -> None:
    frame = hours(champion=20, baseline=40)
    for png in (predictions_against_labels(frame), verdict(), error()):
        assert pixels(png, ROLES["champion"][1]) > 150
        assert pixels(png, ROLES["baseline"][1]) > 60
    without = predictions_against_labels(frame.drop(columns="champion"))
    assert pixels(without, ROLES["champion"][1]) == 0


def test_a_role_without_predictions_is_not_drawn() -> None:
    frame = hours(champion=20)
    absent = predictions_against_labels(frame.assign(shadow=np.nan, baseline=np.nan))
    assert absent == predictions_against_labels(frame)


def test_the_error_band_is_as_wide_as_the_loss() -> None:
    frame = hours(champion=5)
    plain, narrow, wide = (
        predictions_against_labels(frame, measured=measured) for measured in (None, ("mae", 10.0), ("mae", 60.0))
    )
    assert plain == predictions_against_labels(frame)
    areas = [pixels(png, "#cbe7f7") for png in (plain, narrow, wide)]
    assert areas[0] < 50 < areas[1] < areas[2] / 2


def test_failed_requests_have_the_alarm_colour() -> None:
    good = request_log().assign(status=200)
    calm, failing = (service_over_time(each, step=timedelta(hours=1), limit_ms=50) for each in (good, request_log()))
    assert pixels(failing, ALARM, slack=40) > pixels(calm, ALARM, slack=40) + 40


def test_the_first_six_numeric_features_are_drawn() -> None:
    columns = {f"known_{n}": RNG.normal(n, 1, 24 * 7) for n in range(9)}
    frame = hours().assign(**columns)
    six = live_features(frame[["event_time", *list(columns)[:6]]], list(columns))
    texts = live_features(frame.assign(sky="clear")[["event_time", "sky"]], ["sky"])
    assert image(live_features(frame, list(columns))).height == image(six).height
    assert texts == live_features(frame[:0], ["sky"])


def test_columns_at_or_above_the_threshold_have_the_alarm_colour() -> None:
    calm = drifted_columns({"a": 0.05, "b": 0.0999}, threshold=0.1, statistic="psi")
    both = drifted_columns({"a": 0.05, "b": 0.1}, threshold=0.1, statistic="psi")
    assert pixels(calm, ALARM) == 0
    assert pixels(calm, CALM) > 1000
    assert pixels(both, ALARM) > 1000
    assert pixels(both, CALM) > 1000


def test_the_twenty_largest_distances_are_drawn() -> None:
    far = {f"far_{n:02}": 1 + n / 100 for n in range(20)}
    near = {f"near_{n:02}": 0.01 for n in range(30)}
    png = drifted_columns(near | far, threshold=0.1, statistic="psi")
    assert pixels(png, CALM) == 0
    assert pixels(png, ALARM) > 10_000


def test_retraining_decisions_and_promotions_of_the_shown_windows_are_marked() -> None:
    table = weeks(served=0.2, shadow=0.3, baseline=0.4)
    plain = error_over_time(table, metric="mae")
    inside, outside = START + timedelta(days=70), START + timedelta(days=3000)
    assert pixels(plain, ALARM) == 0
    assert pixels(error_over_time(table, metric="mae", retrains=[inside]), ALARM) > 60
    assert error_over_time(table, metric="mae", promotions=[(inside, "v2")]) != plain
    conflict = error_over_time(table, metric="mae", retrains=[outside], promotions=[(outside, "v9")])
    assert conflict == plain


def test_accuracy_is_drawn_on_its_own_scale() -> None:
    assert error("accuracy") != error("mae")
    good, poor = ({"candidate": loss, "baseline": 0.05} for loss in (0.1, 0.8))
    bars = [pixels(loss_comparison(each, metric="accuracy"), ROLES["candidate"][1]) for each in (good, poor)]
    assert bars[0] > 2 * bars[1]


def test_the_leaderboard_names_a_ranking_metric_that_is_not_the_projects() -> None:
    table = pd.DataFrame({"model_id": ["a", "b"], "logloss": [0.5, 0.6]})
    stand_in, itself = (leaderboard(table, metric=metric) for metric in ("accuracy", "log_loss"))
    assert stand_in != itself
    assert pixels(stand_in, ROLES["candidate"][1]) > 1000
    assert pixels(stand_in, CALM) > pixels(stand_in, ROLES["candidate"][1])


def test_drift_above_its_threshold_has_the_alarm_colour() -> None:
    table = weeks(share=0.2, prediction=0.1)
    calm = drift_over_time(table, share=0.5, statistic="psi", threshold=0.2)
    none = drift_over_time(table, share=0.5, statistic="psi")
    over = drift_over_time(table.assign(prediction=0.3), share=0.5, statistic="psi", threshold=0.2)
    lines = [pixels(png, ALARM, slack=60) for png in (none, calm, over)]
    assert 100 < lines[0] < lines[1] - 100
    assert lines[1] < lines[2] - 100


def test_times_are_shown_in_the_projects_time_zone() -> None:
    frame = hours(1, champion=10)
    utc, local = (predictions_against_labels(frame, zone=zone) for zone in ("UTC", "Australia/Sydney"))
    assert utc != local


def test_aware_and_naive_utc_times_give_the_same_chart() -> None:
    frame = hours(champion=10)
    naive = frame.assign(event_time=frame["event_time"].dt.tz_localize(None))
    assert predictions_against_labels(naive) == predictions_against_labels(frame)


def test_several_entities_are_averaged() -> None:
    frame = hours(champion=10)
    doubled = pd.concat([frame.assign(entity="a"), frame.assign(entity="b")], ignore_index=True)
    assert predictions_against_labels(doubled) == predictions_against_labels(frame)


@pytest.mark.parametrize("rows", [0, 1])
def test_charts_of_no_rows_or_one_row_can_be_drawn(rows: int) -> None:
    empty = hours(champion=10)[:rows]
    one = weeks(served=0.2, shadow=np.nan, baseline=0.3, share=np.nan, prediction=np.nan)[:rows]
    made = [
        predictions_against_labels(empty),
        predictions_against_labels(empty.assign(label="UP", champion="DOWN")),
        predictions_against_labels(empty, measured=("mae", 5.0)),
        service_over_time(request_log(1)[:rows], step=timedelta(hours=1), limit_ms=50),
        live_features(empty, ["champion"]),
        error_over_time(one, metric="mae", promotions=[(START, "v1")], retrains=[START]),
        drift_over_time(one, share=0.5, statistic="psi", promotions=[(START, "v1")]),
        drifted_columns(dict.fromkeys("ab"[:rows], 0.0), threshold=0.1, statistic="psi"),
        leaderboard(pd.DataFrame({"model_id": ["a", "b"], "mae": [1.0, 2.0]})[:rows], metric="mae"),
        variable_importance(pd.DataFrame({"variable": ["a", "b"], "percentage": [1.0, 0.0]})[:rows]),
        loss_comparison(dict(list({"candidate": 1.0, "baseline": 0.0}.items())[:rows]), metric="mae"),
    ]
    assert all(image(png).width == 880 for png in made)


def test_charts_do_not_import_pyplot() -> None:
    code = (
        "import sys; from mlops_assets.charts.performance import loss_comparison;"
        "assert 'matplotlib' not in sys.modules;"
        "loss_comparison({'candidate': 1.0}, metric='mae'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
