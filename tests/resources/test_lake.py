from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lake_rules import WINDOW, LakeRules, publish, rows
from upath import UPath

from mlops_assets.errors import LakeError
from mlops_assets.resources.storage.lake import Lake
from mlops_assets.resources.storage.parquet import from_parquet, md5, to_parquet
from mlops_assets.timeline import iso


@pytest.fixture(params=["folder", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    if request.param == "folder":
        yield Lake(str(tmp_path / "lake"))
        return
    root = f"memory://{tmp_path.name}"
    yield Lake(root)
    UPath(root).fs.rm(UPath(root).path, recursive=True)


class TestInAFolder(LakeRules):
    """The embedded default, and one in memory."""


def test_equal_rows_are_equal_bytes_however_the_frame_was_made() -> None:
    built = rows()
    assembled = pd.concat([rows().iloc[:2], rows().iloc[2:]]).sort_values("event_time")
    assembled.index = pd.Index(range(10, 15))
    assembled.attrs["made"] = "later"
    assert to_parquet(built) == to_parquet(assembled)
    assert md5(to_parquet(built)) == md5(to_parquet(from_parquet(to_parquet(built))))
    assert to_parquet(built) != to_parquet(rows(np.nextafter(1.0, 2.0)))


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series([1, 2, 3], dtype="int64"),
        pd.Series([1.5, np.nan, np.inf]),
        pd.Series(["a", None, ""], dtype=object),
        pd.Series([None, None, None], dtype=object),
    ],
)
def test_values_and_missing_ones_survive(column: pd.Series[Any]) -> None:
    frame = pd.DataFrame({"c": column})
    pd.testing.assert_frame_equal(from_parquet(to_parquet(frame)), frame)


@pytest.mark.parametrize("step", ["pipe_file 1", "mv 1", "pipe_file 2", "mv 2", "pipe_file 3", "mv 3"])
def test_a_writer_killed_half_way_through_a_write_or_before_a_rename_leaves_readers_what_they_had(
    tmp_path: Path, step: str
) -> None:
    lake = Lake(str(tmp_path))
    old = publish(lake, pd.DataFrame({"x": [1.0]}))
    writer = os.fork()
    if not writer:
        publish_and_die(lake, *step.split())
    assert os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) == -signal.SIGKILL
    assert lake.published("p", "raw_data") == {WINDOW: old}
    assert lake.read_window("p", "raw_data", WINDOW)["x"].tolist() == [1.0]
    publish(lake, pd.DataFrame({"x": [2.0]}))
    assert lake.read_window("p", "raw_data", WINDOW)["x"].tolist() == [2.0]


def publish_and_die(lake: Lake, name: str, number: str) -> None:
    """Publish, and be killed in the call of that name and number; without it, exit as if nothing had been."""
    calls, call = itertools.count(1), getattr(lake.objects._files, name)

    def killed(path: str, what: Any) -> None:
        if next(calls) == int(number):
            if isinstance(what, bytes):
                call(path, what[: len(what) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        call(path, what)

    setattr(lake.objects._files, name, killed)
    try:
        publish(lake, pd.DataFrame({"x": [2.0]}))
    finally:
        os._exit(0)


def test_a_year_of_weeks_is_read_in_half_a_second(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    start = datetime(2011, 1, 1, tzinfo=UTC)
    for week in range(52):
        publish(lake, rows(float(week), hours=168), iso(start + week * timedelta(days=7)))
    begin = time.process_time()
    read = lake.read("p", "raw_data", lake.published("p", "raw_data"))
    assert len(read) == 52 * 168
    assert time.process_time() - begin < 0.5


def test_a_url_where_two_writers_could_not_be_told_apart_is_refused_with_its_setting() -> None:
    with pytest.raises(LakeError, match=r"not s3://.*MLOPS_ASSETS_LAKE_URL"):
        Lake("s3://bucket/lake")
