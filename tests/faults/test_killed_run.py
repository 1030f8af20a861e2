"""A run whose process is killed leaves no partial files, and the next run succeeds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from example_project import States, retrain, running_harness, succeeded

from mlops_assets.ledger.facts import VersionTrained

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from example_project import retrain, running_harness
with running_harness(Path(sys.argv[2]), serving=False) as harness:
    retrain(harness)
"""


def test_run_killed_during_training_leaves_no_partial_files(states: States, tmp_path: Path) -> None:
    home = states.copy("retrain_decided", tmp_path / "home")
    script = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[1]), str(home)]
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(script, stdout=log, stderr=subprocess.STDOUT)
    try:
        jvms: list[Path] = []
        deadline = time.monotonic() + 200
        while not jvms and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
            jvms = list((home / "pids").glob("h2o-*.json"))
        assert jvms, (tmp_path / "log").read_text()[-3000:]
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    jvm = psutil.Process(json.loads(jvms[0].read_text())["pid"])
    assert jvm.is_running()  # a JVM outlives the process that started it

    with running_harness(home) as harness:
        view = harness.context.ledger_view()
        assert list(view.versions) == [1] and len(view.started_trainings) == 2
        succeeded(retrain(harness))
        view = harness.context.ledger_view()

        assert not jvm.is_running()
        assert [v.version for v in view.of(VersionTrained)] == [1, 2] and harness.context.endpoint.serving() == 2
        assert len([end for end in view.ended_trainings if end.decision]) == 1
