"""A copy of a state folder leaves the processes of the original alone; a renamed state folder keeps its own."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from example_project import States, run_until_only_retraining_is_left, running_harness

from mlops_assets.cli.processes import end_recorded, free_port, start
from mlops_assets.resources.scoring.endpoint_process import EndpointProcess
from mlops_assets.resources.settings import Settings

DAY = timedelta(days=1)


def copy_of(home: Path) -> Path:
    """Copy a state folder, as a person does to try something on the copy."""
    return Path(shutil.copytree(home, home.with_name("copy"), ignore=shutil.ignore_patterns("*.lock")))


def test_copy_neither_stops_nor_uses_the_service_of_the_original(states: States, tmp_path: Path) -> None:
    """The copy's `process.json` names a process that runs, but that process serves the original's folder."""
    with running_harness(states.copy("bootstrapped", tmp_path / "home")) as original:
        url, logged = original.context.endpoint.url, original.context.prediction_log.counts("example")
        with running_harness(copy_of(tmp_path / "home"), serving=False) as copy:
            assert not copy.context.endpoint.url
            assert copy.context.endpoint.stop() is False
            copy.context.endpoint.ensure_running()
            copy.context.clock.move(copy.context.now() + DAY)
            run_until_only_retraining_is_left(copy)
            assert copy.context.endpoint.url not in (None, url)
            assert copy.context.prediction_log.counts("example")["answered"] > logged["answered"]
        assert original.context.endpoint.url == url
        assert original.context.endpoint.serving() == 1
        assert original.context.prediction_log.counts("example") == logged


def test_renamed_state_folder_replaces_its_own_service(states: States, tmp_path: Path) -> None:
    """The service that was started under the former path has files open there, so a new one takes its place."""
    home = states.copy("bootstrapped", tmp_path / "home")
    with running_harness(home) as before:
        endpoint = before.context.endpoint
        assert isinstance(endpoint, EndpointProcess)
        record = endpoint.record()
        assert record is not None
        former = psutil.Process(record.pid)
        renamed = home.rename(tmp_path / "renamed")
        with running_harness(renamed) as after:
            assert after.context.endpoint.serving() == 1
            assert not former.is_running() or former.status() == psutil.STATUS_ZOMBIE


def test_down_on_a_copy_ends_no_process_of_the_original(tmp_path: Path) -> None:
    """The folder of recorded pids is copied with the rest."""
    settings = Settings(home=tmp_path / "home")
    port = free_port(0)
    started = start("Server", ["http.server", "--bind", "127.0.0.1", str(port)], f"http://127.0.0.1:{port}", settings)
    try:
        assert end_recorded(Settings(home=copy_of(tmp_path / "home")).pids) == []
        assert started.process.poll() is None
    finally:
        assert end_recorded(settings.pids) == ["Server"]
        started.process.wait()


@pytest.mark.parametrize("lock", ["index.lock", "HEAD.lock", "refs/heads/master.lock"])
def test_lock_of_a_killed_git_does_not_stop_the_next_snapshot(states: States, tmp_path: Path, lock: str) -> None:
    """Git removes its lock files itself unless it is killed; then it refuses to work until they are removed."""
    with running_harness(states.copy("bootstrapped", tmp_path / "home"), serving=False) as harness:
        snapshots = harness.context.snapshots
        (tag,) = snapshots.tags()
        snapshot = snapshots.find(tag)
        rows = snapshots.read(snapshot)
        left = tmp_path / "home" / "projects" / "example" / "dataset" / ".git" / lock
        left.parent.mkdir(parents=True, exist_ok=True)
        left.touch()
        taken = snapshots.take(
            rows.iloc[:-1],
            as_of=snapshot.as_of + DAY,
            trained_through=snapshot.trained_through,
            windows=snapshot.windows,
            labels=snapshot.labels,
        )
        assert len(snapshots.read(taken)) == len(rows) - 1
        assert not left.exists()
