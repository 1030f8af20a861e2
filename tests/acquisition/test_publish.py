from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hourly import MakeSource, hourly
from lake_rules import quarantined_rows

from mlops_assets.acquisition.publish import publish_labels, publish_window
from mlops_assets.errors import NotReady, Refused, SourceError
from mlops_assets.resources.storage.lake import Lake

DAY = timedelta(days=1)
WINDOW = "2011-03-01T00:00:00Z"
NOW = datetime(2011, 3, 10, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


class Changing:
    """A source whose rows change from one call to the next."""

    def __init__(self) -> None:
        self.columns: dict[str, Any] = {}

    def __call__(self, start: datetime, end: datetime) -> pd.DataFrame:
        rows = hourly(start, end)
        return rows.assign(**{name: [value, *rows[name].tolist()[1:]] for name, value in self.columns.items()})


def test_valid_window_is_published_without_its_target(make_source: MakeSource, lake: Lake) -> None:
    source = make_source()
    result = publish_window(source, lake, source.timeline, source.timeline.window(WINDOW), NOW)
    assert (result.rows, result.quarantined, result.reasons, result.gaps, result.changed) == (24, False, [], [], False)
    assert lake.published("small", "raw_data") == {WINDOW: result.data_version}
    assert list(lake.read_window("small", "raw_data", WINDOW).columns) == ["event_time", "x", "day"]


def test_future_window_is_refused_without_calling_the_source(make_source: MakeSource, lake: Lake) -> None:
    def read(start: datetime, end: datetime) -> pd.DataFrame:
        pytest.fail("the source was called")

    source = make_source(read, data={"arrival_delay": "2h"}, labels={"delay": "1d"})
    window = source.timeline.window(WINDOW)
    with pytest.raises(Refused, match="rows can be read from 2011-03-02T02:00:00Z on"):
        publish_window(source, lake, source.timeline, window, window.end + timedelta(hours=1))
    with pytest.raises(Refused, match=r"known from 2011-03-03T02:00:00Z on, .* time is 2011-03-02T02:00:00Z"):
        publish_labels(source, lake, source.timeline, window, window.end + timedelta(hours=2))


def test_failing_window_stays_in_quarantine_until_it_passes(make_source: MakeSource, lake: Lake) -> None:
    rows = Changing()
    source = make_source(rows)
    window = source.timeline.window(WINDOW)
    rows.columns = {"x": 101.0}
    result = publish_window(source, lake, source.timeline, window, NOW)
    assert result.quarantined
    assert result.audit is not None
    assert result.audit.counts == {"x: <= 100": 1}
    assert lake.published("small", "raw_data") == {}
    assert lake.quarantined("small", "raw_data") == {WINDOW: result.reasons}
    assert quarantined_rows(lake, "small")["x"].iloc[0] == 101.0
    with pytest.raises(NotReady, match=f"raw_data of window {WINDOW}: it is not published"):
        lake.read_window("small", "raw_data", WINDOW)

    rows.columns = {}
    repaired = publish_window(source, lake, source.timeline, window, NOW)
    assert not repaired.quarantined
    assert lake.published("small", "raw_data") == {WINDOW: repaired.data_version}
    assert lake.quarantined("small", "raw_data") == {}


def test_missing_targets_quarantine_labels_but_not_rows(make_source: MakeSource, lake: Lake) -> None:
    rows = Changing()
    rows.columns = {"y": np.nan}
    source = make_source(rows)
    window = source.timeline.window(WINDOW)
    assert not publish_window(source, lake, source.timeline, window, NOW).quarantined
    result = publish_labels(source, lake, source.timeline, window, NOW)
    assert result.reasons == [
        "y must be present: 1 of 24 rows are not, the first at 2011-03-01T00:00:00+00:00 with nothing"
    ]
    assert lake.published("small", "labels") == {}


@pytest.mark.parametrize(
    ("read", "words", "duplicates", "gaps"),
    [
        (lambda s, e: pd.DataFrame(), "it returned no rows", 0, 1),
        (lambda s, e: hourly(s, e).drop(columns="x"), "columns x are missing", 0, 0),
        (lambda s, e: pd.concat([hourly(s, e), hourly(s, e).iloc[-1:]]), "repeat the event_time", 2, 0),
        (lambda s, e: hourly(s, e + DAY), "outside the requested span", 0, 0),
    ],
)
def test_rows_that_are_not_a_series_are_quarantined_unchanged(
    make_source: MakeSource, lake: Lake, read: Any, words: str, duplicates: int, gaps: int
) -> None:
    source = make_source(read)
    result = publish_window(source, lake, source.timeline, source.timeline.window(WINDOW), NOW)
    assert (result.quarantined, result.duplicates, len(result.gaps)) == (True, duplicates, gaps)
    assert words in result.reasons[0]
    assert len(quarantined_rows(lake, "small")) == len(result.bad_rows)
    assert lake.published("small", "raw_data") == {}


def test_nothing_is_written_when_the_source_raises(make_source: MakeSource, lake: Lake, tmp_path: Path) -> None:
    source = make_source(lambda start, end: 1 / 0)
    with pytest.raises(SourceError, match="ZeroDivisionError"):
        publish_window(source, lake, source.timeline, source.timeline.window(WINDOW), NOW)
    assert not (tmp_path / "lake").exists()


def test_publishing_a_window_again_gives_the_same_version(make_source: MakeSource, lake: Lake) -> None:
    source = make_source()
    window = source.timeline.window(WINDOW)
    first, second = (publish_window(source, lake, source.timeline, window, NOW) for _ in range(2))
    assert (second.data_version, second.previous, second.changed) == (first.data_version, first.data_version, False)


def test_old_rows_stay_readable_after_a_correction(make_source: MakeSource, lake: Lake) -> None:
    rows = Changing()
    source = make_source(rows)
    window = source.timeline.window(WINDOW)
    old = publish_window(source, lake, source.timeline, window, NOW)
    rows.columns = {"x": 7.0}
    new = publish_window(source, lake, source.timeline, window, NOW)
    assert (new.changed, new.previous) == (True, old.data_version)
    assert lake.read_window("small", "raw_data", WINDOW)["x"].iloc[0] == 7.0
    assert lake.read_window("small", "raw_data", WINDOW, old.data_version)["x"].iloc[0] == 50.0


def test_published_window_stays_when_a_later_audit_fails(make_source: MakeSource, lake: Lake) -> None:
    rows = Changing()
    source = make_source(rows)
    window = source.timeline.window(WINDOW)
    old = publish_window(source, lake, source.timeline, window, NOW)
    rows.columns = {"x": -7.0}
    new = publish_window(source, lake, source.timeline, window, NOW)
    assert (new.quarantined, new.changed) == (True, False)
    assert lake.published("small", "raw_data") == {WINDOW: old.data_version}


def test_window_with_gaps_is_published_and_its_gaps_reported(make_source: MakeSource, lake: Lake) -> None:
    source = make_source(lambda s, e: hourly(s, e).drop(index=[4, 5]))
    result = publish_window(source, lake, source.timeline, source.timeline.window(WINDOW), NOW)
    assert [gap.steps for gap in result.gaps] == [2]
    assert (result.quarantined, result.volume.passed) == (False, True)


def test_usual_volume_is_that_of_the_previous_windows(make_source: MakeSource, lake: Lake) -> None:
    source = make_source(lambda s, e: hourly(s, e).iloc[: 24 if s.day < 5 else 8])
    results = [
        publish_window(source, lake, source.timeline, window, NOW)
        for window in source.timeline.windows(datetime(2011, 3, 1, tzinfo=UTC), datetime(2011, 3, 6, tzinfo=UTC))
    ]
    assert [(result.volume.usual, result.volume.passed) for result in results] == [
        (None, True), (24.0, True), (24.0, True), (24.0, True), (24.0, False),
    ]  # fmt: skip
