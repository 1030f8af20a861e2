from __future__ import annotations

import shutil
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from mlops_assets.context import Snapshot
from mlops_assets.errors import DatasetError, NotReady
from mlops_assets.resources.storage.parquet import md5, to_parquet
from mlops_assets.resources.storage.snapshots import Snapshots

AS_OF = datetime(2011, 4, 2, 4, tzinfo=UTC)


def rows(count: int = 100) -> pd.DataFrame:
    times = pd.date_range("2011-01-01T05:00Z", periods=count, freq="h").as_unit("ns")
    return pd.DataFrame({"event_time": times, "x": 1.0})


def take(snapshots: Snapshots, count: int = 100, as_of: datetime = AS_OF) -> Snapshot:
    return snapshots.take(
        rows(count), as_of=as_of, trained_through=as_of, windows={"2011-01-01T05:00:00Z": "a"}, labels={}
    )


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots("small", tmp_path / "state" / "dataset", str(tmp_path / "remote"))


def test_dvc_pull_at_tag_restores_the_same_bytes(snapshots: Snapshots, tmp_path: Path) -> None:
    old, new = take(snapshots), take(snapshots, 120, AS_OF + timedelta(days=7))
    shutil.rmtree(snapshots.folder / ".dvc" / "cache")  # the bytes must come from the remote
    for snapshot, count in ((old, 100), (new, 120)):
        clone = tmp_path / snapshot.tag
        git(tmp_path, "clone", "--quiet", "--branch", snapshot.tag, str(snapshots.folder), str(clone))
        assert not (clone / "dataset.parquet").exists()
        pull(clone)
        assert md5((clone / "dataset.parquet").read_bytes()) == snapshot.md5 == md5(to_parquet(rows(count)))


def pull(clone: Path) -> None:
    from dvc.repo import Repo

    with Repo(str(clone)) as repo:
        repo.pull()


def test_tag_has_time_and_md5_and_note_has_window_versions(snapshots: Snapshots) -> None:
    snapshot = take(snapshots)
    assert snapshot.tag == f"dataset-20110402T040000Z-{snapshot.md5[:8]}"
    assert git(snapshots.folder, "cat-file", "-t", snapshot.tag) == "tag"
    assert git(snapshots.folder, "status", "--porcelain") == ""
    assert snapshots.find(snapshot.tag) == snapshots.find(snapshot.md5) == snapshot
    with pytest.raises(NotReady, match="snapshot 123: known are"):
        snapshots.find("123")


def test_same_rows_give_the_same_snapshot_without_a_commit(snapshots: Snapshots) -> None:
    first = take(snapshots)
    head = git(snapshots.folder, "rev-parse", "HEAD")
    again = take(snapshots, as_of=AS_OF + timedelta(days=1))
    assert (again.md5, again.tag, again.as_of) == (first.md5, first.tag, AS_OF + timedelta(days=1))
    assert git(snapshots.folder, "rev-parse", "HEAD") == head
    assert snapshots.tags() == [first.tag]


def test_older_snapshot_is_read_unchanged(snapshots: Snapshots) -> None:
    old, new = take(snapshots), take(snapshots, 120, AS_OF + timedelta(days=7))
    pd.testing.assert_frame_equal(snapshots.read(old), rows(100))
    shutil.rmtree(snapshots.folder / ".dvc" / "cache")
    pd.testing.assert_frame_equal(snapshots.read(old), rows(100))
    pd.testing.assert_frame_equal(snapshots.read(new), rows(120))


def test_bytes_with_another_md5_are_refused(snapshots: Snapshots) -> None:
    snapshot = take(snapshots)
    cached = snapshots.folder / ".dvc/cache/files/md5" / snapshot.md5[:2] / snapshot.md5[2:]
    cached.chmod(0o644)
    cached.write_bytes(to_parquet(rows(99)))
    with pytest.raises(DatasetError, match=f"but {snapshot.md5} was expected"):
        snapshots.read(snapshot)


@pytest.mark.parametrize("step", ["add", "commit", "tag"])
def test_interrupted_snapshot_is_completed_by_the_next_attempt(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    take(snapshots, 50)
    real = snapshots._git

    def broken(*arguments: str) -> str:
        if arguments[0] == step and "--list" not in arguments:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "_git", broken)
        with pytest.raises(KeyboardInterrupt):
            take(snapshots)
        assert len(snapshots.tags()) == 1
    snapshot = take(snapshots)
    assert git(snapshots.folder, "status", "--porcelain") == ""
    assert f"md5: {snapshot.md5}" in git(snapshots.folder, "show", f"{snapshot.tag}:dataset.parquet.dvc")


def test_unwritable_remote_raises_and_leaves_no_tag(snapshots: Snapshots, tmp_path: Path) -> None:
    (tmp_path / "remote").write_text("a file where a folder should be")
    with pytest.raises(DatasetError, match=r"check that .*remote can be written"):
        take(snapshots)
    assert snapshots.tags() == []
    (tmp_path / "remote").unlink()
    assert snapshots.tags() == [] and take(snapshots).rows == 100


def test_git_configuration_of_user_and_outer_repository_is_ignored(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    hooks = home / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "post-commit"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {hooks}\n[commit]\n\tgpgsign = true\n[tag]\n\tgpgsign = true\n[user]\n\tname = me\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    snapshot = take(snapshots)
    monkeypatch.delenv("GIT_DIR")
    assert git(snapshots.folder, "log", "-1", "--format=%an", snapshot.tag) == "mlops-assets"

    assert not (tmp_path / "elsewhere").exists()


def test_lock_of_another_process_is_waited_for(snapshots: Snapshots) -> None:
    take(snapshots, 50)
    from dvc.repo import Repo

    other = Repo(str(snapshots.folder))
    other.lock.lock()
    held = threading.Timer(4.0, other.lock.unlock)  # DVC itself gives up after 3 s
    held.start()
    begin = time.monotonic()
    assert take(snapshots).rows == 100
    assert time.monotonic() - begin > 3
    held.join()
    other.close()
