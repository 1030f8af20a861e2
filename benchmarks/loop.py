"""From a decision to the new version serving, less the training itself: the platform against a plain script.

Both start from copies of one state: `bike_demand`, played until evidence stands, with retraining held back. On one
copy a person asks for a retraining and Dagster's daemon carries it out; on the other a plain script does the same.

    python -m benchmarks.loop
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg
from rich.console import Console

from mlops_assets.cli.demo import PROJECT, Demo
from mlops_assets.cli.desks import desk_of
from mlops_assets.cli.instance import instance_of
from mlops_assets.cli.processes import end_recorded
from mlops_assets.cli.replaying import play
from mlops_assets.retraining.records import RetrainingHeld
from mlops_assets.retraining.training import request_retraining
from resources.platform import Desk
from resources.settings import Settings

GOAL = 2.0


def main() -> None:
    """Measure both, print the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "state"
        os.environ["MLOPS_ASSETS_HOME"] = str(home)
        platform, training = platform_seconds(home, Path(folder) / "copy")
        plain = plain_seconds(Path(folder) / "copy")
    own, reference = platform - training, plain["total"] - plain["training"]
    print(f"loop: decision -> serving, less training: platform {own:.1f} s (of {platform:.1f} s)")
    print(f"      plain script {reference:.1f} s (of {plain['total']:.1f} s)")
    print(f"      ratio {own / reference:.2f} (goal <= {GOAL})")


def platform_seconds(home: Path, copy: Path) -> tuple[float, float]:
    """Seconds from a person's request to the new version serving, and those of its candidate_model step."""
    console = Console(file=sys.stderr)
    demo = Demo(console, hold=True, most=20, stay=False)
    settings = Settings()
    dagster, _ = demo.start()
    try:
        with instance_of(settings) as instance:
            demo.bootstrap(instance, dagster)
            desk = desk_of(PROJECT)
            desk.ledger.append(PROJECT, RetrainingHeld(at=desk.now(), held=True, number=0))
            while not any(decision.evidence for decision in desk.history().decisions):
                play(desk, instance, console, 1, None)
            shutil.copytree(home, copy, ignore=shutil.ignore_patterns("dagster*", "pids", "logs", "endpoint", "*.lock"))
            begun = time.monotonic()
            decision = request_retraining(desk.ledger, desk.timeline, "benchmark", desk.now())
            while len(desk.history().reigns) < 2 and not desk.history().acted_on(decision.id):
                time.sleep(0.1)
            return time.monotonic() - begun, step_seconds(instance, "candidate_model")
    finally:
        end_recorded(settings.pids)
        desk_of(PROJECT).endpoint.stop()


def step_seconds(instance: dg.DagsterInstance, asset: str) -> float:
    """How long a step of the newest retraining took."""
    run = instance.get_runs(dg.RunsFilter(job_name=f"{PROJECT}_retrain"), limit=1)[0]
    stats = instance.get_run_step_stats(run.run_id, [f"{PROJECT}__{asset}"])[0]
    return float((stats.end_time or 0) - (stats.start_time or 0))


def plain_seconds(home: Path) -> dict[str, float]:
    """The same by a plain script on the copy; its service runs beforehand, as the platform's did."""
    environment = {**os.environ, "MLOPS_ASSETS_HOME": str(home)}
    os.environ["MLOPS_ASSETS_HOME"] = str(home)
    desk: Desk = desk_of(PROJECT)
    decision = request_retraining(desk.ledger, desk.timeline, "benchmark", desk.now())
    desk.endpoint.ensure_running()
    try:
        command = [sys.executable, "-m", "benchmarks.plain_retraining", PROJECT, decision.id]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    finally:
        desk.endpoint.stop()
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
