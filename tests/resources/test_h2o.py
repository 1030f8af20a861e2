"""H2O's JVM runs during its block only, also when it or the process that started it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import requests

from mlops_assets.errors import TrainingError
from mlops_assets.modeling.automl import find_recipe
from mlops_assets.resources.compute.h2o import JVMRecord, end_orphans, h2o_cluster
from mlops_assets.spec.training import H2OAutoMLSpec

pytestmark = pytest.mark.xdist_group("h2o")

OTHER_PROCESS = """
import sys, time
from pathlib import Path
import mlops_assets
from mlops_assets.resources.compute.h2o import h2o_cluster
with h2o_cluster(Path(sys.argv[1]), "other", "200m") as connection:
    print(connection.base_url, flush=True)
    time.sleep(300)
"""


def record_in(state: Path) -> JVMRecord:
    (path,) = (state / "pids").glob("h2o-*.json")
    return JVMRecord.model_validate_json(path.read_text())


def test_cluster_is_reachable_locally_with_password_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no process listens there
    with h2o_cluster(tmp_path, "hourly", "200m") as connection:
        import h2o

        assert h2o.api("GET /3/Cloud").cloud_size == 1
        assert os.environ["HTTP_PROXY"] == "http://127.0.0.1:9"
        jvm = psutil.Process(record_in(tmp_path).pid)
        assert "-Xmx200m" in jvm.cmdline()
        assert {listening.laddr.ip for listening in jvm.net_connections()} <= {"127.0.0.1", "::ffff:127.0.0.1"}
        monkeypatch.setenv("NO_PROXY", "*")
        assert requests.get(f"{connection.base_url}/3/Cloud", timeout=10).status_code == 401
        nested = h2o_cluster(tmp_path, "hourly")
        with pytest.raises(TrainingError, match="already runs an H2O cluster"), nested:
            pass


def test_error_in_block_is_raised_unchanged_and_cluster_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), h2o_cluster(tmp_path, "hourly", "200m"):
        record = record_in(tmp_path)
        assert abs(psutil.Process(record.pid).create_time() - record.started) < 1
        assert (record.parent, Path(record.folder).exists()) == (os.getpid(), True)
        _ = 1 / 0
    assert not psutil.pid_exists(record.pid)
    assert not Path(record.folder).exists()
    assert not list((tmp_path / "pids").iterdir())


def test_error_of_failed_start_has_the_output_of_the_jvm(tmp_path: Path) -> None:
    words = r"\[hourly\] start of H2O: the JVM ended \(exit 1\).*Too small"
    with pytest.raises(TrainingError, match=words) as caught, h2o_cluster(tmp_path, "hourly", "1m"):
        pass
    assert "raise training.memory (now 1m)" in caught.value.remedy
    assert not list((tmp_path / "pids").iterdir())


def test_jvm_killed_during_automl_raises_training_error(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = pd.DataFrame(chance.normal(size=(1500, 20)), columns=[f"x{number}" for number in range(20)])
    rows["y"] = rows["x0"] * rows["x1"] + chance.normal(size=1500)
    killed: list[float] = []

    def kill_when_training() -> None:
        import h2o

        while not any(job["description"].startswith("AutoML") for job in h2o.api("GET /3/Jobs")["jobs"]):
            time.sleep(0.1)
        time.sleep(1)
        os.kill(record.pid, signal.SIGKILL)
        killed.append(time.monotonic())

    with pytest.raises(TrainingError) as caught, h2o_cluster(tmp_path, "hourly", "400m"):
        record = record_in(tmp_path)
        killer = threading.Thread(target=kill_when_training)
        killer.start()
        find_recipe(
            rows[:1000],
            rows[1000:1250],
            rows[1250:],
            spec=H2OAutoMLSpec(max_models=200),
            target="y",
            task="regression",
            metric="mae",
            project="hourly",
        )
    killer.join()
    assert time.monotonic() - killed[0] < 20  # h2o itself retries for 90 s
    assert caught.value.project == "hourly"
    assert caught.value.place == "H2O AutoML (at most 200 models)"
    assert "the JVM ended (exit -9)" in caught.value.found
    assert "run it again" in caught.value.remedy
    assert not list((tmp_path / "pids").iterdir())


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Return another Python process with a cluster on the same state folder."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_only_orphaned_jvms_are_ended(other: subprocess.Popen[str], tmp_path: Path) -> None:
    assert other.stdout is not None
    address = other.stdout.readline().strip()
    theirs, pids = record_in(tmp_path), tmp_path / "pids"
    path, jvm = pids / f"h2o-{theirs.pid}.json", psutil.Process(theirs.pid)
    left = tmp_path / "left"
    left.mkdir()
    long_gone = {"pid": 2**22 + 1, "parent": 2**22 + 1, "folder": str(left)}
    (pids / "h2o-gone.json").write_text(theirs.model_copy(update=long_gone).model_dump_json())

    with h2o_cluster(tmp_path, "hourly", "200m") as connection:
        assert connection.base_url != address  # two clusters at once have two addresses
        assert (left.exists(), (pids / "h2o-gone.json").exists()) == (False, False)  # the start removes orphans
        assert (jvm.is_running(), path.exists()) == (True, True)  # but not a JVM in use

    other.kill()
    other.wait()
    path.write_text(theirs.model_copy(update={"started": theirs.started - 60}).model_dump_json())
    assert end_orphans(pids) == []  # the pid belongs to another process now
    assert jvm.is_running()

    path.write_text(theirs.model_dump_json())
    assert end_orphans(pids) == [theirs.pid]
    assert not jvm.is_running() or jvm.status() == psutil.STATUS_ZOMBIE
    assert (path.exists(), Path(theirs.folder).exists()) == (False, False)
