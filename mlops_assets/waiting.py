"""Waiting for servers that are not there yet: named each time, asked again after pauses that grow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from mlops_assets.errors import Unreachable

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 60.0
"""Seconds."""
T = TypeVar("T")
Told = Callable[[Unreachable], None]


def answer_of(ask: Callable[[], T], told: Told, stop: threading.Event) -> T | None:
    """What a server says, once it does; what trying again does not help is raised at once.

    Args:
        ask: asks it.
        told: hears of each try that failed.
        stop: ends the waiting.

    Returns:
        The answer; None when stopped before.
    """
    pause = FIRST_PAUSE
    while not stop.is_set():
        try:
            return ask()
        except Unreachable as error:
            told(error)
        stop.wait(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
    return None


def waited_for(ask: Callable[[], T], told: Told) -> T:
    """`answer_of`, however long it takes."""
    found = answer_of(lambda: [ask()], told, threading.Event())
    assert found is not None  # nobody ends the waiting
    return found[0]
