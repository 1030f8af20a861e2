"""Tests that the lake passes on any storage. Each suite runs them with a storage of its own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_assets.errors import NotReady, Refused
from mlops_assets.resources.storage.lake import Lake
from mlops_assets.resources.storage.parquet import from_parquet

WINDOW, NEXT = "2011-04-02T04:00:00Z", "2011-04-09T04:00:00Z"


def rows(value: float = 1.0, hours: int = 5) -> pd.DataFrame:
    times = pd.date_range("2011-04-02T04:00Z", periods=hours, freq="h").as_unit("ns")
    return pd.DataFrame(
        {"event_time": times, "x": value, "n": np.arange(hours), "name": ["a", None] * 2 + ["b"] * (hours - 4)}
    )


def publish(lake: Lake, frame: pd.DataFrame, window: str = WINDOW) -> str:
    seen = lake.look("p", "raw_data", window)
    version = lake.stage("p", "raw_data", window, frame)
    lake.publish("p", "raw_data", window, version, seen)
    return version


def quarantined_rows(lake: Lake, project: str) -> pd.DataFrame:
    """Return the rows of the only quarantined file of raw_data of a project."""
    (path,) = lake.objects.find(f"{project}/quarantine/raw_data/*/*.parquet")
    return from_parquet(lake.objects.read(path))


class LakeRules:
    """Tests that take the fixture `lake`, an empty lake."""

    def test_staged_rows_are_not_visible_until_published(self, lake: Lake) -> None:
        version = lake.stage("p", "raw_data", WINDOW, rows())
        assert lake.published("p", "raw_data") == {}
        with pytest.raises(
            NotReady, match=r"\[p\] raw_data of window 2011-04-02T04:00:00Z: it is not published -> materialize"
        ):
            lake.read_window("p", "raw_data", WINDOW)
        lake.publish("p", "raw_data", WINDOW, version, lake.look("p", "raw_data", WINDOW))
        assert lake.published("p", "raw_data") == {WINDOW: version}
        pd.testing.assert_frame_equal(lake.read_window("p", "raw_data", WINDOW), rows())
        assert lake.row_count("p", "raw_data", WINDOW) == 5

    def test_windows_are_read_in_order_in_the_named_versions(self, lake: Lake) -> None:
        old, _ = publish(lake, rows(1.0)), publish(lake, rows(2.0), NEXT)
        assert lake.stage("p", "raw_data", WINDOW, rows(3.0)) != old
        publish(lake, rows(3.0))
        assert lake.read("p", "raw_data", [WINDOW, NEXT])["x"].unique().tolist() == [3.0, 2.0]
        assert lake.read("p", "raw_data", {WINDOW: old})["x"].unique().tolist() == [1.0]
        assert list(lake.published("p", "raw_data")) == [WINDOW, NEXT]
        with pytest.raises(NotReady, match="version 123 is not in the lake"):
            lake.read("p", "raw_data", {WINDOW: "123"})

    def test_publishing_the_same_rows_again_changes_nothing(self, lake: Lake) -> None:
        version = publish(lake, rows())
        assert lake.stage("p", "raw_data", WINDOW, rows()) == version
        assert lake.look("p", "raw_data", WINDOW).version == version
        lake.publish("p", "raw_data", WINDOW, version, lake.look("p", "raw_data", WINDOW))
        pd.testing.assert_frame_equal(lake.read_window("p", "raw_data", WINDOW), rows())

    def test_projects_and_tables_are_separate(self, lake: Lake) -> None:
        publish(lake, rows())
        assert lake.published("q", "raw_data") == lake.published("p", "labels") == {}

    def test_inputs_of_predictions_are_stored_as_json_text(self, lake: Lake) -> None:
        inputs = pd.Series([{"x": 1.0, "y": [1.0, None]}] * 5, dtype=object)
        predictions = rows().assign(inputs=inputs, probabilities=None)
        version = lake.write_predictions("p", WINDOW, predictions, lake.look("p", "predictions", WINDOW))
        assert lake.published("p", "predictions") == {WINDOW: version}
        read = lake.read_window("p", "predictions", WINDOW)
        assert read["inputs"].iloc[0] == '{"x":1.0,"y":[1.0,null]}'
        assert read["probabilities"].isna().all()

    def test_slower_of_two_writers_is_refused(self, lake: Lake) -> None:
        first = publish(lake, rows(1.0))
        seen = lake.look("p", "raw_data", WINDOW)
        slow = lake.stage("p", "raw_data", WINDOW, rows(2.0))
        quick = publish(lake, rows(3.0))
        with pytest.raises(Refused, match=f"version {quick} while version {slow} was made from {first}"):
            lake.publish("p", "raw_data", WINDOW, slow, seen)
        assert lake.read_window("p", "raw_data", WINDOW)["x"].unique().tolist() == [3.0]

    def test_writer_of_unchanged_rows_is_refused_after_another_publication(self, lake: Lake) -> None:
        first = publish(lake, rows(1.0))
        seen = lake.look("p", "raw_data", WINDOW)
        assert lake.stage("p", "raw_data", WINDOW, rows(1.0)) == first
        quick = publish(lake, rows(3.0))
        with pytest.raises(Refused, match=f"version {quick} while version {first} was made from {first}"):
            lake.publish("p", "raw_data", WINDOW, first, seen)
        assert lake.version("p", "raw_data", WINDOW) == quick

    def test_two_writers_of_the_same_rows_both_succeed(self, lake: Lake) -> None:
        begun = [lake.look("p", "raw_data", WINDOW) for _ in range(2)]
        version, same = (lake.stage("p", "raw_data", WINDOW, rows()) for _ in range(2))
        assert version == same
        for seen in begun:
            lake.publish("p", "raw_data", WINDOW, version, seen)
        pd.testing.assert_frame_equal(lake.read_window("p", "raw_data", WINDOW), rows())

    def test_quarantined_window_has_reasons_until_it_is_published(self, lake: Lake) -> None:
        publish(lake, rows(1.0))
        bad = lake.stage("p", "raw_data", WINDOW, rows(-1.0))
        lake.quarantine("p", "raw_data", WINDOW, bad, ["x is below 0"])
        assert lake.quarantined("p", "raw_data") == {WINDOW: ["x is below 0"]}
        assert quarantined_rows(lake, "p")["x"].unique().tolist() == [-1.0]
        assert lake.read_window("p", "raw_data", WINDOW)["x"].unique().tolist() == [1.0]
        publish(lake, rows(2.0))
        assert lake.quarantined("p", "raw_data") == {}
        assert lake.read_window("p", "raw_data", WINDOW)["x"].unique().tolist() == [2.0]
