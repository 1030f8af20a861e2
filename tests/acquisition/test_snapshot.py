from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from hourly import COLUMNS, MakeSource, hourly

from mlops_assets.acquisition.publish import publish_labels, publish_window
from mlops_assets.acquisition.snapshot import take_snapshot, training_rows
from mlops_assets.errors import NotReady
from mlops_assets.resources.storage.lake import Lake
from mlops_assets.resources.storage.snapshots import Snapshots
from mlops_assets.source.project_source import ProjectSource

START = datetime(2011, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def publish(source: ProjectSource, lake: Lake, days: int, labelled: int) -> None:
    for number, window in enumerate(source.timeline.windows(START, START + days * DAY)):
        publish_window(source, lake, source.timeline, window, window.end + 9 * DAY)
        if number < labelled:
            publish_labels(source, lake, source.timeline, window, window.end + 9 * DAY)


def rows_as_of(source: ProjectSource, lake: Lake, now: datetime) -> tuple[datetime, datetime, int]:
    versions = [lake.published("small", table) for table in ("raw_data", "labels")]
    both = [{window: version[window] for window in versions[1]} for version in versions]
    rows = training_rows(lake, source.timeline, now, *both)
    return rows["event_time"].min().to_pydatetime(), rows["event_time"].max().to_pydatetime(), len(rows)


def test_snapshot_has_only_windows_with_rows_and_labels(make_source: MakeSource, lake: Lake, tmp_path: Path) -> None:
    source = make_source()
    publish(source, lake, days=4, labelled=3)
    snapshots = Snapshots("small", tmp_path / "dataset", str(tmp_path / "remote"))
    snapshot = take_snapshot(snapshots, lake, source.timeline, START + 4 * DAY)
    assert (snapshot.rows, snapshot.trained_through, snapshot.as_of) == (72, START + 3 * DAY, START + 4 * DAY)
    assert list(snapshot.windows) == list(snapshot.labels) == list(lake.published("small", "labels"))
    assert snapshot.windows == {w: v for w, v in lake.published("small", "raw_data").items() if w in snapshot.windows}
    rows = snapshots.read(snapshot)
    assert list(rows.columns) == ["event_time", "x", "day", "y"]
    assert rows["y"].notna().all()


def test_snapshot_excludes_labels_not_known_yet(make_source: MakeSource, lake: Lake) -> None:
    source = make_source(labels={"delay": "12h"})
    publish(source, lake, days=2, labelled=2)
    assert rows_as_of(source, lake, START + 2 * DAY) == (START, START + timedelta(hours=35), 36)


def test_training_window_limits_how_far_back_rows_reach(make_source: MakeSource, lake: Lake) -> None:
    source = make_source(
        data={"training_window": "29h"},
        problem={"validation": {"holdout": "12h"}, "baseline": {"type": "seasonal_naive", "season": "12h"}},
        promotion={"min_rows": 10},
    )
    publish(source, lake, days=4, labelled=4)
    now = START + 4 * DAY
    assert rows_as_of(source, lake, now) == (now - timedelta(hours=29), now - timedelta(hours=1), 29)


def test_windows_outside_the_training_window_are_not_inputs(
    make_source: MakeSource, lake: Lake, tmp_path: Path
) -> None:
    source = make_source(
        data={"training_window": "29h"},
        problem={"validation": {"holdout": "12h"}, "baseline": {"type": "seasonal_naive", "season": "12h"}},
        promotion={"min_rows": 10},
    )
    publish(source, lake, days=6, labelled=6)
    snapshots = Snapshots("small", tmp_path / "dataset", str(tmp_path / "remote"))
    snapshot = take_snapshot(snapshots, lake, source.timeline, START + 4 * DAY)
    assert list(snapshot.windows) == ["2011-03-03T00:00:00Z", "2011-03-04T00:00:00Z"]


def test_windows_published_before_a_column_was_declared_are_named(make_source: MakeSource, lake: Lake) -> None:
    publish(make_source(), lake, days=2, labelled=2)

    def windy(start: datetime, end: datetime) -> pd.DataFrame:
        return hourly(start, end, wind=1.0)

    wind = {"dtype": "float"}
    later = make_source(windy, data={"columns": {**COLUMNS, "wind": wind}})
    with pytest.raises(NotReady, match=r"column wind: 48 rows have no value, from window 2011-03-01.* to 2011-03-02"):
        rows_as_of(later, lake, START + 2 * DAY)
    publish(later, lake, days=2, labelled=2)
    assert rows_as_of(later, lake, START + 2 * DAY)[2] == 48
    allowed = make_source(windy, data={"columns": {**COLUMNS, "wind": wind, "gust": wind | {"nullable": True}}})
    assert rows_as_of(allowed, lake, START + 2 * DAY)[2] == 48


def test_error_without_labelled_window_names_what_to_materialize(
    make_source: MakeSource, lake: Lake, tmp_path: Path
) -> None:
    source = make_source()
    publish(source, lake, days=1, labelled=0)
    snapshots = Snapshots("small", tmp_path / "dataset", str(tmp_path / "remote"))
    with pytest.raises(
        NotReady, match="no window has published rows and labels at that time -> materialize raw_data and labels"
    ):
        take_snapshot(snapshots, lake, source.timeline, START + DAY)
    assert not (tmp_path / "dataset").exists()


def test_series_are_joined_with_their_own_labels(make_source: MakeSource, lake: Lake) -> None:
    def read(start: datetime, end: datetime) -> pd.DataFrame:
        return pd.concat([hourly(start, end, shop=shop, y=float(n)) for n, shop in enumerate("ab")])

    source = make_source(read, data={"entity": "shop"})
    publish(source, lake, days=1, labelled=1)
    versions = [lake.published("small", table) for table in ("raw_data", "labels")]
    rows = training_rows(lake, source.timeline, START + DAY, *versions)
    assert rows.groupby("entity")["y"].unique().map(list).to_dict() == {"a": [0.0], "b": [1.0]}
