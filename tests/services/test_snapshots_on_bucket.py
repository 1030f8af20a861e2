from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from faulty_proxy import proxy_to
from fsspec.config import conf as defaults
from servers import Gcs, free_port

from mlops_assets.context import Snapshot
from mlops_assets.errors import DatasetError, DatasetUnreachable, Unreachable
from mlops_assets.resources.storage import object_store
from mlops_assets.resources.storage.parquet import md5
from mlops_assets.resources.storage.snapshots import Snapshots

AS_OF = datetime(2011, 4, 2, 4, tzinfo=UTC)
ROWS = pd.DataFrame({"event_time": pd.date_range("2011-01-01T05:00Z", periods=100, freq="h").as_unit("ns"), "x": 1.0})


def take(snapshots: Snapshots) -> Snapshot:
    return snapshots.take(ROWS, as_of=AS_OF, trained_through=AS_OF, windows={"2011-01-01T05:00:00Z": "a"}, labels={})


@pytest.fixture
def snapshots(gcs: Gcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Snapshots:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url)
    return Snapshots("small", tmp_path / "state" / "dataset", f"gs://{gcs.bucket}/dvc-{tmp_path.name}")


def test_snapshot_is_pushed_to_the_bucket_and_read_from_there(snapshots: Snapshots, gcs: Gcs) -> None:
    snapshot = take(snapshots)
    folder = snapshots.remote.removeprefix(f"gs://{gcs.bucket}/")
    kept = {name: data for name, data in gcs.objects(gcs.bucket).items() if name.startswith(f"{folder}/")}
    assert [md5(data) for name, data in kept.items() if snapshot.md5[2:] in name] == [snapshot.md5]
    shutil.rmtree(snapshots.folder / ".dvc" / "cache")
    pd.testing.assert_frame_equal(snapshots.read(snapshot), ROWS)


def test_dvc_pull_at_tag_restores_the_same_bytes(snapshots: Snapshots, gcs: Gcs, tmp_path: Path) -> None:
    from dvc.repo import Repo

    snapshot, clone = take(snapshots), tmp_path / "clone"
    command = ["git", "clone", "--quiet", "--branch", snapshot.tag, str(snapshots.folder), str(clone)]
    subprocess.run(command, check=True)
    committed = "".join(path.read_text() for path in (clone / ".dvc").iterdir() if path.is_file())
    assert gcs.url not in committed
    # settings of this machine are not in the repository: a clone needs its own
    emulator = f"['remote \"storage\"']\n    endpointurl = {gcs.url}\n    allow_anonymous_login = true\n"
    (clone / ".dvc" / "config.local").write_text(emulator)
    with Repo(str(clone)) as repo:
        repo.pull()
    assert md5((clone / "dataset.parquet").read_bytes()) == snapshot.md5


@pytest.fixture(params=["refuses connections", "accepts requests and does not answer"])
def absent(request: pytest.FixtureRequest, gcs: Gcs) -> Iterator[str]:
    """An address at which no bucket answers."""
    if request.param == "refuses connections":
        yield f"http://127.0.0.1:{free_port()}"
        return
    with proxy_to(gcs.url) as proxy:
        proxy.fate = lambda method, what: "hang"
        yield proxy.url


def test_bucket_outage_leaves_no_tag_and_next_attempt_continues(
    snapshots: Snapshots, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setenv("STORAGE_EMULATOR_HOST", absent)
        away.setitem(defaults, "gcs", {})
        away.setattr(object_store, "READ_TIMEOUT", 1.0)
        away.setattr(object_store, "ATTEMPT_TIMEOUT", 1.0)
        away.setattr(object_store, "TOTAL_TIMEOUT", 3.0)
        with pytest.raises(DatasetUnreachable, match=r"gs://.*MLOPS_ASSETS_DVC_REMOTE"):
            take(snapshots)
    assert snapshots.tags() == []
    snapshot = take(snapshots)
    assert snapshots.tags() == [snapshot.tag]


def test_bucket_that_refuses_dvc_is_not_reported_as_unreachable(
    snapshots: Snapshots, gcs: Gcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy_to(gcs.url) as proxy:
        proxy.fate = lambda method, what: "forbid"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        with pytest.raises(DatasetError) as found:
            take(snapshots)
    assert not isinstance(found.value, Unreachable)
