"""A project's time: windows, ticks, what is known when, the grid, and event ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.acquisition.completeness import gaps
from mlops_assets.errors import Refused
from mlops_assets.evaluation.baselines import seasonal_naive
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import DAY, Timeline, Window, as_datetime64, contiguous, event_id, iso, parse
from mlops_assets.timeline.partitions import partition_arguments, partition_key, window_of_partition

HOUR, MICROSECOND = timedelta(hours=1), timedelta(microseconds=1)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Havana"]
"""Havana changes its clocks at midnight, Lord Howe by half an hour."""
STEPS = {"15min": timedelta(minutes=15), "1h": HOUR, "6h": 6 * HOUR, "1d": DAY, "7d": 7 * DAY}


def project(**data: Any) -> ProjectSpec:
    """Return a project with the given `data`."""
    labels = {"delay": data.pop("delay", "0h")}
    serving = data.pop("serving", data.get("every", "1h"))
    return ProjectSpec.model_validate(
        {
            "name": "timed",
            "problem": {
                "statement": "Something worth knowing.",
                "task": "regression",
                "target": "y",
                "metric": "mae",
                "baseline": {"type": "seasonal_naive", "season": "28d"},
                "validation": {"holdout": "400d"},
            },
            "data": {
                "source": "nowhere.read",
                "every": "1h",
                "start": "2019-01-01",
                "window": "day",
                "horizon": "1d",
                "columns": {"y": {"dtype": "float"}},
                **data,
            },
            "labels": labels,
            "features": {"history": {"columns": ["y"], "length": "14d"}},
            "promotion": {"min_rows": 50},
            "serving": {"every": serving},
            "retraining": {"when": {"type": "age", "max": "90d"}, "cooldown": "1000d"},
        }
    )


def label_known_at(timeline: Timeline, stamp: datetime) -> datetime:
    """Return when the label with a stamp is known, by the definition of the delays."""
    return timeline.complete_at(stamp) + timeline.spec.data.arrival_delay + timeline.spec.labels.delay


moments = st.datetimes(datetime(2019, 1, 2), datetime(2022, 12, 30), timezones=st.just(UTC))
windows = st.sampled_from(["hour", "day", "week", "month"])
starts = st.sampled_from(["2019-01-01", "2018-07-03", "2018-11-05 06:00"])


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Generate the time of any project."""
    every = draw(st.sampled_from(sorted(STEPS)))
    window = "week" if every == "7d" else draw(windows.filter(lambda name: name != "hour" or STEPS[every] <= HOUR))
    return Timeline(
        project(
            every=every,
            window=window,
            start=draw(starts),
            time_zone=draw(st.sampled_from(ZONES)),
            ambiguous=draw(st.sampled_from(["first", "second"])),
            stamp=draw(st.sampled_from(["start", "end"])),
            serving=draw(st.sampled_from([every, "1d", "9h"])) if every != "7d" else "1d",
            horizon="7d" if every == "7d" else draw(st.sampled_from(["1d", "2d", "36h"])),
            arrival_delay=draw(st.sampled_from(["0h", "1h", "5h"])),
            delay=draw(st.sampled_from(["0h", "7h", "3d"])),
        )
    )


# Windows


@given(timelines(), moments)
def test_every_moment_lies_in_exactly_one_window(timeline: Timeline, moment: datetime) -> None:
    window = timeline.window_at(moment)
    assert window.start <= moment < window.end
    assert timeline.window_at(window.end).start == window.end
    assert timeline.window_at(window.end - MICROSECOND) == window


@given(timelines(), moments)
def test_ids_and_partition_keys_identify_windows(timeline: Timeline, moment: datetime) -> None:
    window = timeline.window_at(moment)
    assert timeline.window(window.id) == window
    assert window_of_partition(timeline, partition_key(timeline, window.start)) == window


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("window", ["hour", "day", "week", "month"])
def test_dagsters_partitions_equal_the_windows(window: str, zone: str) -> None:
    closed = {"end": "2019-01-08"} if window == "hour" else {"end": "2021-01-01"}
    timeline = Timeline(project(window=window, time_zone=zone, start="2019-01-01", **closed))
    assert timeline.end is not None
    keys = dg.TimeWindowPartitionsDefinition(**partition_arguments(timeline)).get_partition_keys()
    ours = [partition_key(timeline, found.start) for found in timeline.windows(timeline.start, timeline.end)]
    assert ours == list(keys)


@given(timelines(), moments, st.integers(1, 90))
def test_windows_of_a_range_lie_in_it_without_gaps(timeline: Timeline, start: datetime, days: int) -> None:
    end = start + days * DAY / 10
    found = timeline.windows(start, end)
    assert all(start <= window.start and window.end <= end for window in found)
    assert len(list(contiguous(found))) <= 1
    assert found or timeline.window_at(timeline.window_at(start).end).end > end


def test_window_after_the_clock_is_refused() -> None:
    timeline = Timeline(project())
    window = timeline.window_at(parse("2019-05-01T00:00:00Z"))
    with pytest.raises(Refused, match="its rows can be read from 2019-05-02T00:00:00Z on, and the clock is at"):
        timeline.require_readable(window, parse("2019-05-01T23:59:59Z"))
    timeline.require_readable(window, parse("2019-05-02T00:00:00Z"))


def test_time_outside_the_data_is_refused() -> None:
    timeline = Timeline(project(end="2020-01-01"))
    for moment in ("2018-12-31T23:00:00Z", "2020-01-01T00:00:00Z"):
        with pytest.raises(Refused, match="the data cover 2019-01-01T00:00:00Z to 2020-01-01T00:00:00Z"):
            timeline.window_at(parse(moment))


def test_windows_with_gaps_form_several_groups() -> None:
    timeline = Timeline(project())
    week = timeline.windows(parse("2019-03-04T00:00:00Z"), parse("2019-03-11T00:00:00Z"))
    assert [len(group) for group in contiguous([*week[:2], *week[4:]])] == [2, 3]


# Moments


@given(timelines(), moments)
def test_next_moment_is_the_first_with_new_rows_or_labels(timeline: Timeline, now: datetime) -> None:
    moment = timeline.next_moment(now)
    assert moment is not None and moment > now

    def due_by(time: datetime) -> tuple[list[Window], list[Window]]:
        arrived, labels = time - timeline.spec.data.arrival_delay, timeline.spec.labels.delay
        return timeline.windows(now - 40 * DAY, arrived), timeline.windows(now - 40 * DAY, arrived - labels)

    assert due_by(now) == due_by(moment - MICROSECOND) != due_by(moment)


@given(timelines(), moments)
def test_last_and_next_tick_enclose_a_due_time(timeline: Timeline, now: datetime) -> None:
    tick = timeline.last_tick(now)
    assert tick <= now < tick + timeline.spec.serving.every
    assert timeline.last_tick(tick) == timeline.next_tick(tick) == tick
    if tick != now:
        following = timeline.next_tick(now)
        assert timeline.last_tick(following) == following
        assert timeline.last_tick(following - MICROSECOND) == tick


@given(timelines(), moments)
def test_tick_of_a_due_time_is_not_after_the_end_of_its_window(timeline: Timeline, due: datetime) -> None:
    """Otherwise the event would be in no report: not every window ends at a tick of `serving.every`."""
    assert timeline.next_tick(due) <= timeline.window_at(due).end


# What is known when


@given(timelines(), st.lists(moments, min_size=1, max_size=5))
def test_newest_known_value_is_known_and_the_next_is_not(timeline: Timeline, dues: list[datetime]) -> None:
    found = timeline.newest_known(np.array([as_datetime64(due) for due in dues]), "y")
    for due, step in zip(dues, found.tolist(), strict=True):
        assert label_known_at(timeline, timeline.grid.point(step)) <= due
        assert label_known_at(timeline, timeline.grid.point(step + 1)) > due


@given(timelines(), moments)
def test_labelled_before_agrees_with_the_time_of_each_label(timeline: Timeline, moment: datetime) -> None:
    bound = timeline.labelled_before(moment)
    near = [
        timeline.grid.point(int(step))
        for step in timeline.grid.steps(np.array([as_datetime64(bound)])) + np.arange(-2, 4)
    ]
    assert [stamp <= bound for stamp in near] == [label_known_at(timeline, stamp) <= moment for stamp in near]


@given(timelines(), st.lists(moments, min_size=1, max_size=5))
def test_known_from_agrees_with_the_time_of_each_value(timeline: Timeline, stamps: list[datetime]) -> None:
    many = timeline.known_from(np.array([as_datetime64(stamp) for stamp in stamps]), "y")
    assert many.tolist() == [as_datetime64(label_known_at(timeline, stamp)).tolist() for stamp in stamps]


@given(timelines(), moments, st.integers(0, 100))
def test_span_of_past_values_contains_the_feature_windows(timeline: Timeline, due: datetime, later: int) -> None:
    last = due + later * HOUR
    start, end = timeline.past_values_span(due, last, ["y"], timeline.feature_window_steps)
    newest = timeline.newest_known(np.array([as_datetime64(due), as_datetime64(last)]), "y")
    oldest = timeline.grid.point(int(newest[0]) - timeline.feature_window_steps + 1)
    assert start <= max(oldest, timeline.start)
    assert timeline.grid.point(int(newest[1])) < end


@given(timelines(), moments)
def test_version_may_predict_only_events_due_at_its_as_of_or_later(timeline: Timeline, as_of: datetime) -> None:
    timeline.require_unseen(1, as_of, as_of)
    with pytest.raises(Refused, match="may predict only events due then or later"):
        timeline.require_unseen(1, as_of, as_of - MICROSECOND)


# The grid


@given(timelines(), st.integers(-5000, 5000))
def test_each_grid_point_is_its_own_step(timeline: Timeline, step: int) -> None:
    point = np.array([as_datetime64(timeline.grid.point(step))])
    assert timeline.grid.steps(point) == timeline.grid.steps_up(point) == step


@given(timelines(), moments)
def test_stamp_between_two_points_counts_for_the_later_one(timeline: Timeline, moment: datetime) -> None:
    stamp = np.array([as_datetime64(moment)])
    down, up = int(timeline.grid.steps(stamp)[0]), int(timeline.grid.steps_up(stamp)[0])
    assert timeline.grid.point(down) <= moment <= timeline.grid.point(up)
    assert up - down == (moment != timeline.grid.point(down))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("start", ["2019-01-01", "2019-07-01"])
def test_each_calendar_day_is_one_step_over_clock_changes(zone: str, start: str) -> None:
    timeline = Timeline(project(every="1d", time_zone=zone, start=start, ambiguous="first"))
    days = pd.date_range(start, periods=1200, freq="D")
    stamps = days.tz_localize(zone, ambiguous=np.ones(len(days), dtype=bool), nonexistent="shift_forward")
    cells = timeline.grid.steps_up(stamps.tz_convert("UTC").tz_localize(None).to_numpy())
    assert cells.tolist() == list(range(1200))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("start", ["2019-01-01", "2019-07-01"])
def test_each_week_is_one_step_and_known_at_its_end(zone: str, start: str) -> None:
    timeline = Timeline(project(every="7d", horizon="7d", window="week", time_zone=zone, start=start))
    weeks = pd.date_range(start, periods=200, freq="7D").tz_localize(zone).tz_convert("UTC")
    stamps = weeks.tz_localize(None).to_numpy()
    assert timeline.grid.steps_up(stamps).tolist() == list(range(200))
    assert [window.start for window in timeline.windows(timeline.start, weeks[-1].to_pydatetime())] == list(weeks[:-1])
    for number in range(1, 199):
        known = weeks[number + 1].to_pydatetime()
        assert label_known_at(timeline, weeks[number].to_pydatetime()) == known
        assert timeline.labelled_before(known - MICROSECOND) < weeks[number] <= timeline.labelled_before(known)


@pytest.mark.parametrize("start", ["2019-01-01", "2019-07-01"])
def test_clock_change_is_no_gap_in_daily_rows(start: str) -> None:
    timeline = Timeline(project(every="1d", window="month", time_zone="Europe/Berlin", start=start))
    stamps = pd.date_range(start, periods=900, freq="D", tz="Europe/Berlin").tz_convert("UTC")
    frame = pd.DataFrame({"event_time": stamps})
    for month in timeline.windows(timeline.start, timeline.start + 800 * DAY):
        inside = frame[(frame["event_time"] >= month.start) & (frame["event_time"] < month.end)]
        assert gaps(inside, timeline, month) == []
        (gap,) = gaps(inside.drop(index=inside.index[3]), timeline, month)
        assert (gap.start, gap.end, gap.steps) == (inside["event_time"].iloc[3], inside["event_time"].iloc[4], 1)


@pytest.mark.parametrize(("every", "window", "steps"), [("1d", "month", 28), ("7d", "week", 4)])
def test_season_of_days_keeps_the_weekday_over_clock_changes(every: str, window: str, steps: int) -> None:
    spec = project(every=every, horizon=every, window=window, time_zone="Europe/Berlin", start="2020-01-01")
    stamps = pd.date_range("2020-01-01", periods=366, freq=every, tz="Europe/Berlin").tz_convert("UTC")
    series = pd.DataFrame({"event_time": stamps, "y": np.arange(366.0)})
    found = seasonal_naive(Timeline(spec), spec, series, series[60:])
    assert found.tolist() == (np.arange(60.0, 366.0) - steps).tolist()


def test_day_without_midnight_begins_an_hour_late() -> None:
    timeline = Timeline(project(every="1d", window="month", time_zone="America/Havana"))
    short, after = parse("2019-03-10T05:00:00Z"), parse("2019-03-11T04:00:00Z")
    assert timeline.grid.point(68) == short and timeline.grid.point(69) == after
    assert label_known_at(timeline, short) == after
    for moment, known in ((after - MICROSECOND, False), (after, True), (after + HOUR / 2, True)):
        assert (short <= timeline.labelled_before(moment)) is known
        assert (timeline.newest_known(np.array([as_datetime64(moment)]), "y").tolist() == [68]) is known


@pytest.mark.parametrize("ambiguous", ["first", "second"])
def test_window_without_its_midnight_begins_an_hour_late(ambiguous: str) -> None:
    timeline = Timeline(project(time_zone="America/Havana", ambiguous=ambiguous))
    window = timeline.window_at(parse("2019-03-10T12:00:00Z"))
    assert window.start == parse("2019-03-10T05:00:00Z")
    assert partition_key(timeline, window.start) == "2019-03-10"
    assert window_of_partition(timeline, "2019-03-10") == window


# Ids and texts


@given(moments, st.sampled_from(ZONES))
def test_text_of_a_time_does_not_depend_on_its_zone(moment: datetime, zone: str) -> None:
    other = moment.astimezone(ZoneInfo(zone))
    assert iso(other) == iso(moment)
    assert parse(iso(moment)) == moment
    assert event_id("timed", "a", other) == event_id("timed", "a", moment)


names = st.text("ab_", max_size=3)
events = st.tuples(names, names | st.none(), moments)


@given(st.lists(events, min_size=2, max_size=6, unique_by=lambda event: (event[0], event[1] or "", event[2])))
def test_event_ids_are_unique_and_stable(
    drawn: list[tuple[str, str | None, datetime]],
) -> None:
    first = [event_id(*event) for event in drawn]
    assert len(set(first)) == len(drawn)
    assert first == [event_id(*event) for event in drawn]


def test_week_with_a_clock_change_has_167_or_169_hours() -> None:
    timeline = Timeline(project(window="week", time_zone="America/New_York", start="2019-01-05"))
    year = timeline.windows(parse("2019-01-05T05:00:00Z"), parse("2020-01-04T05:00:00Z"))
    lengths = [(window.end - window.start) // HOUR for window in year]
    assert sorted(set(lengths)) == [167, 168, 169] and len(year) == 52
    assert all(earlier.end == later.start for earlier, later in pairwise(year))
