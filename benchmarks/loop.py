"""From a decision to the new version serving, without the training itself: the platform against a plain script.

    python -m benchmarks.loop

Both work on the same state: `bike_demand`, played until a trigger is active, with the policy's retrainings held back.
On one copy a person asks for a retraining, and Dagster's daemon runs it. On the other `plain_retraining.py` retrains;
that script imports nothing of the platform, and says what it leaves out. Goal: at most twice the script's time.
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

from mlops_assets.cli.bootstrap import bootstrap, start_platform
from mlops_assets.cli.demo import PROJECT
from mlops_assets.cli.instance import instance_of
from mlops_assets.cli.processes import end_recorded
from mlops_assets.cli.projects import project_context_of, repository_settings
from mlops_assets.cli.replay import play
from mlops_assets.ledger.facts import RetrainingHeld
from mlops_assets.retraining.requests import request_retraining

GOAL = 2.0
"""The platform's time as a multiple of the script's, both without their training."""


def main() -> None:
    """Measure both, and print the ratio."""
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
    """Return the seconds from a person's request to the new version serving, and those of its candidate_model step."""
    console = Console(file=sys.stderr)
    settings = repository_settings()
    project_context = project_context_of(settings, PROJECT)
    dagster, _ = start_platform(settings, project_context)
    try:
        with instance_of(settings) as instance:
            bootstrap(settings, project_context, instance, dagster, console)
            project_context.ledger.append(PROJECT, RetrainingHeld(at=project_context.now(), held=True, number=0))
            while not any(decision.evidence for decision in project_context.ledger_view().decisions):
                play(project_context, instance, console, 1, None)
            shutil.copytree(home, copy, ignore=shutil.ignore_patterns("dagster*", "pids", "logs", "endpoint", "*.lock"))
            begun = time.monotonic()
            decision = request_retraining(
                project_context.ledger, project_context.timeline, "benchmark", project_context.now()
            )
            while len(
                project_context.ledger_view().deployment_periods
            ) < 2 and not project_context.ledger_view().is_closed(decision.id):
                time.sleep(0.1)
            return time.monotonic() - begun, step_seconds(instance, "candidate_model")
    finally:
        end_recorded(settings.pids)
        project_context.endpoint.stop()


def step_seconds(instance: dg.DagsterInstance, asset: str) -> float:
    """Return the seconds of a step of the newest retraining."""
    run = instance.get_runs(dg.RunsFilter(job_name=f"{PROJECT}_retrain"), limit=1)[0]
    stats = instance.get_run_step_stats(run.run_id, [f"{PROJECT}__{asset}"])[0]
    return float((stats.end_time or 0) - (stats.start_time or 0))


def plain_seconds(home: Path) -> dict[str, float]:
    """Return the seconds of the plain script on a copy of the state: in total, and of its training."""
    command = [sys.executable, str(Path(__file__).with_name("plain_retraining.py")), str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the plain script failed:\n{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
