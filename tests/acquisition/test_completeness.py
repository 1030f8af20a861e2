from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hourly import hourly, small_spec

from mlops_assets.acquisition.completeness import gaps, volume
from mlops_assets.timeline import Timeline, Window


def rows_of(window: Window, **columns: Any) -> pd.DataFrame:
    return hourly(window.start, window.end, **columns).rename(columns={"when": "event_time"})


def test_complete_window_has_no_gaps_and_the_expected_volume() -> None:
    timeline = Timeline(small_spec())
    window = timeline.window("2011-03-01T00:00:00Z")
    assert gaps(rows_of(window), timeline, window) == []
    assert (volume(rows_of(window), timeline, window, [24, 24]).expected, len(rows_of(window))) == (24, 24)


def test_missing_rows_are_reported_as_intervals() -> None:
    timeline = Timeline(small_spec())
    window = timeline.window("2011-03-01T00:00:00Z")
    found = gaps(rows_of(window).drop(index=[0, 5, 6, 23]), timeline, window)
    assert [str(gap) for gap in found] == [
        "1 rows from 2011-03-01T00:00:00Z to 2011-03-01T01:00:00Z",
        "2 rows from 2011-03-01T05:00:00Z to 2011-03-01T07:00:00Z",
        "1 rows from 2011-03-01T23:00:00Z to 2011-03-02T00:00:00Z",
    ]
    assert sum(gap.steps for gap in found) == 4


@pytest.mark.parametrize(
    ("day", "hours"), [("2011-11-06T04:00:00Z", 25), ("2011-03-13T05:00:00Z", 23), ("2011-06-01T04:00:00Z", 24)]
)
def test_day_with_clock_change_expects_23_or_25_hours(day: str, hours: int) -> None:
    timeline = Timeline(small_spec(data={"time_zone": "America/New_York"}))
    window = timeline.window(day)
    rows = rows_of(window)
    assert (volume(rows, timeline, window, []).expected, gaps(rows, timeline, window)) == (hours, [])


def test_missing_second_occurrence_of_a_repeated_hour_is_a_gap() -> None:
    timeline = Timeline(small_spec(data={"time_zone": "America/New_York"}))
    window = timeline.window("2011-11-06T04:00:00Z")
    found = gaps(rows_of(window).drop(index=2), timeline, window)
    assert [str(gap) for gap in found] == ["1 rows from 2011-11-06T06:00:00Z to 2011-11-06T07:00:00Z"]


def test_each_series_has_its_own_gaps() -> None:
    timeline = Timeline(small_spec(data={"entity": "shop"}))
    window = timeline.window("2011-03-01T00:00:00Z")
    rows = pd.concat([rows_of(window, entity="a"), rows_of(window, entity="b").drop(index=3)])
    assert [(gap.entity, gap.steps) for gap in gaps(rows, timeline, window)] == [("b", 1)]
    assert volume(rows, timeline, window, []).expected == 48


def test_month_window_expects_the_days_of_its_month() -> None:
    timeline = Timeline(small_spec(data={"window": "month"}, retraining={"cooldown": "90d"}))
    window = timeline.window("2011-02-01T00:00:00Z")
    rows = rows_of(window)
    assert (volume(rows, timeline, window, []).expected, gaps(rows, timeline, window)) == (28 * 24, [])


def test_daily_rows_have_no_gap_at_a_clock_change() -> None:
    spec = small_spec(data={"time_zone": "America/New_York", "every": "1d", "horizon": "1d", "window": "month"},
                      features={"history": {"columns": ["y"], "length": "7d"}},
                      promotion={"min_rows": 10}, retraining={"cooldown": "90d"})  # fmt: skip
    timeline = Timeline(spec)
    for month in ("2011-03-01T05:00:00Z", "2011-11-01T04:00:00Z"):
        window = timeline.window(month)
        days = pd.date_range(timeline.local(window.start), timeline.local(window.end), inclusive="left")
        rows = pd.DataFrame({"event_time": days.tz_localize("America/New_York").tz_convert("UTC"), "x": 1.0})
        assert gaps(rows, timeline, window) == []


@pytest.mark.parametrize(
    ("rows", "earlier", "passed"), [(24, [], True), (11, [], False), (11, [20, 20, 22], True), (9, [20, 20], False)]
)
def test_volume_fails_below_half_of_the_usual_rows(rows: int, earlier: list[int], passed: bool) -> None:
    timeline = Timeline(small_spec())
    window = Window(datetime(2011, 3, 1, tzinfo=UTC), datetime(2011, 3, 2, tzinfo=UTC))
    frame = rows_of(window).iloc[np.arange(rows)]
    assert volume(frame, timeline, window, earlier).passed is passed
