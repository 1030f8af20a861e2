"""How often Python's cyclic garbage collector runs in processes that run assets."""

from __future__ import annotations

import gc


def collect_rarely() -> None:
    """Let the garbage collector run less often than by default.

    A run creates millions of small objects that live until its end: Evidently's reports, Dagster's events, charts. By
    default Python collects after each 700 new objects, and examines the objects in use again and again. That takes a
    third of the CPU time of a window and saves two per cent of memory (`python -m benchmarks.garbage`).
    """
    gc.set_threshold(20_000, 10, 100)
