from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import yaml

import mlops_assets.projects
from mlops_assets.acquisition.completeness import gaps
from mlops_assets.source.project_source import ProjectSource
from mlops_assets.source.schema import audit
from mlops_assets.spec import ProjectSpec
from mlops_assets.timeline import Timeline

FOLDER = Path(mlops_assets.projects.__file__).parent
Load = Callable[[str], ProjectSource]


@pytest.fixture(scope="module")
def load() -> Load:
    def load(name: str) -> ProjectSource:
        attributes = yaml.safe_load((FOLDER / name / "defs.yaml").read_text())["attributes"]
        spec = ProjectSpec.model_validate(attributes)
        return ProjectSource(spec, Timeline(spec))

    return load


@pytest.mark.parametrize(("name", "rows", "windows"), [("bike_demand", 17_379, 104), ("electricity", 45_312, 134)])
def test_shipped_data_are_valid_and_the_clock_starts_at_a_window(
    load: Load, name: str, rows: int, windows: int
) -> None:
    source = load(name)
    timeline, spec = source.timeline, source.spec
    assert timeline.end is not None
    assert timeline.clock_start is not None
    history = source.read(timeline.start, timeline.end)
    assert len(history) == rows
    assert audit(history, spec, list(spec.data.columns)).passed
    assert len(timeline.ended_windows(timeline.end)) == windows
    assert timeline.window_at(timeline.clock_start).start == timeline.clock_start


@pytest.mark.parametrize("name", ["bike_demand", "electricity"])
def test_shipped_data_name_their_origin(name: str) -> None:
    note = (FOLDER / name / "SOURCES.md").read_text()
    for line in ("From:", "Licence:", "Cite:"):
        assert line in note


@pytest.mark.parametrize("name", ["bike_demand", "electricity"])
def test_windows_partition_the_shipped_rows(load: Load, name: str) -> None:
    source = load(name)
    timeline = source.timeline
    windows = timeline.windows(timeline.start, timeline.start + timedelta(days=371))
    parts = pd.concat([source.read(window.start, window.end) for window in windows], ignore_index=True)
    pd.testing.assert_frame_equal(parts, source.read(windows[0].start, windows[-1].end))


@pytest.mark.parametrize("name", ["bike_demand", "electricity"])
def test_reading_two_weeks_again_takes_milliseconds(load: Load, name: str) -> None:
    source = load(name)
    start = source.timeline.start + timedelta(days=70)
    source.function(start, start + timedelta(days=1))
    begin = time.process_time()
    for _ in range(10):
        source.function(start, start + timedelta(days=14))
    assert (time.process_time() - begin) / 10 < 0.005


def test_bike_clock_changes_are_gaps_without_duplicates(load: Load) -> None:
    source = load("bike_demand")
    timeline = source.timeline
    found = {}
    for moment in ("2011-03-13", "2011-11-06", "2012-03-11", "2012-11-04"):
        window = timeline.window_at(datetime.fromisoformat(moment).replace(tzinfo=UTC) + timedelta(hours=12))
        day = gaps(source.read(window.start, window.end), timeline, window)
        found[moment] = [str(gap) for gap in day if gap.start.isoformat()[:10] == moment]
    assert found == {
        "2011-03-13": [],
        "2011-11-06": ["1 rows from 2011-11-06T06:00:00Z to 2011-11-06T07:00:00Z"],
        "2012-03-11": [],
        "2012-11-04": ["1 rows from 2012-11-04T06:00:00Z to 2012-11-04T07:00:00Z"],
    }


def test_electricity_has_48_rows_a_day_and_no_price(load: Load) -> None:
    source = load("electricity")
    timeline = source.timeline
    window = timeline.window_at(datetime(1997, 10, 26, tzinfo=UTC))
    rows = source.read(window.start, window.end)
    assert len(rows) == 7 * 48
    assert gaps(rows, timeline, window) == []
    assert not [name for name in rows if "price" in name]
    assert set(rows["class"]) == {"UP", "DOWN"}


def test_class_up_means_price_above_the_mean_of_the_day_before(load: Load) -> None:
    source = load("electricity")
    assert source.timeline.end is not None
    rows = source.function(source.timeline.start, source.timeline.end)
    above = rows["nswprice"] > rows["nswprice"].rolling(48).mean().shift(1)
    assert (above[48:] == (rows["class"][48:] == "UP")).all()
