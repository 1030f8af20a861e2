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


class TestFolder(LakeRules):
    """The rules for a lake in a local folder (the default), and for one in memory."""


def test_equal_rows_give_equal_bytes() -> None:
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
def test_values_and_missing_values_are_read_as_they_were_written(column: pd.Series[Any]) -> None:
    frame = pd.DataFrame({"c": column})
    pd.testing.assert_frame_equal(from_parquet(to_parquet(frame)), frame)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("call", ["write_bytes", "replace"])
def test_killed_writer_changes_nothing_that_was_published(tmp_path: Path, call: str, number: int) -> None:
    """The writer is killed in the middle of a write, or before the rename that follows it."""
    lake = Lake(str(tmp_path))
    old = publish(lake, pd.DataFrame({"x": [1.0]}))
    writer = os.fork()
    if not writer:
        publish_and_die(lake, call, number)
    assert os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) == -signal.SIGKILL
    assert lake.published("p", "raw_data") == {WINDOW: old}
    assert lake.read_window("p", "raw_data", WINDOW)["x"].tolist() == [1.0]
    publish(lake, pd.DataFrame({"x": [2.0]}))
    assert lake.read_window("p", "raw_data", WINDOW)["x"].tolist() == [2.0]


def publish_and_die(lake: Lake, name: str, number: int) -> None:
    """Publish, and be killed in the nth call of a method of `Path`; exit with 0 if there is no such call."""
    calls, call = itertools.count(1), getattr(Path, name)

    def killed(self: Path, argument: Any) -> Any:
        if next(calls) == number:
            if isinstance(argument, bytes):
                call(self, argument[: len(argument) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(self, argument)

    setattr(Path, name, killed)
    try:
        publish(lake, pd.DataFrame({"x": [2.0]}))
    finally:
        os._exit(0)


def test_52_windows_are_read_in_half_a_second_of_cpu_time(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    start = datetime(2011, 1, 1, tzinfo=UTC)
    for week in range(52):
        publish(lake, rows(float(week), hours=168), iso(start + week * timedelta(days=7)))
    begin = time.process_time()
    read = lake.read("p", "raw_data", lake.published("p", "raw_data"))
    assert len(read) == 52 * 168
    assert time.process_time() - begin < 0.5


def test_url_with_unsupported_scheme_is_refused() -> None:
    with pytest.raises(LakeError, match=r"not s3://.*MLOPS_ASSETS_LAKE_URL"):
        Lake("s3://bucket/lake")
