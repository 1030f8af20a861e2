"""What Python's garbage collector costs per window: with Python's thresholds, and with the platform's.

    python -m benchmarks.garbage

One simulated project is played window after window in one process, alternating between the two. All other costs of a
window (predictions, reports, charts, facts) are the same for both.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil

from mlops_assets.garbage_collection import collect_rarely

sys.path.append(str(Path(__file__).parent.parent / "tests"))
sys.path.append(str(Path(__file__).parent.parent / "tests" / "loop"))
from project_replays import ProjectReplay, bootstrapped_replay
from simulated_projects import simulated_project

WARM_UP, WINDOWS = 2, 12
"""Windows that are played before the measurement, and windows measured with each setting."""


def main() -> None:
    """Measure both, and print the ratio."""
    default = gc.get_threshold()
    with (
        tempfile.TemporaryDirectory() as folder,
        bootstrapped_replay(simulated_project("collector"), Path(folder) / "state") as replay,
    ):
        replay.advance(windows=WARM_UP)
        usual, rare = list[float](), list[float]()
        for _ in range(WINDOWS):
            gc.set_threshold(*default)
            usual.append(seconds(replay))
            collect_rarely()
            rare.append(seconds(replay))
    ours, pythons = median(rare), median(usual)
    print(f"a window: {pythons:.2f} processor seconds with Python's thresholds, {ours:.2f} with the platform's")
    print(f"ratio {ours / pythons:.2f}; {psutil.Process().memory_info().rss / 2**20:.0f} MB at the end")


def seconds(replay: ProjectReplay) -> float:
    """Return the processor seconds of the next window."""
    begun = time.process_time()
    replay.advance(windows=1)
    return time.process_time() - begun


if __name__ == "__main__":
    main()
