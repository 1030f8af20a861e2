"""Pauses between attempts, and waiting for servers that do not answer yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import tenacity

from mlops_assets.errors import Unreachable

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=0.2), timedelta(seconds=60)
"""The first and the longest pause between two requests to a server that does not answer."""
T = TypeVar("T")
OnUnreachable = Callable[[Unreachable], None]
"""A function that is called with the error of each request that found no server."""


def pause_after(failures: int, first: timedelta, longest: timedelta) -> timedelta:
    """Return the pause after a number of failures in a row: it doubles with each failure.

    Args:
        failures: at least 1.
        first: the pause after the first failure.
        longest: the limit of the pause; a `first` above it is returned unchanged.
    """
    doubled: timedelta = first * 2 ** min(failures - 1, 20)
    return min(doubled, max(first, longest))


class _DoublingPause(tenacity.wait.wait_base):
    """`pause_after` as one of tenacity's wait strategies."""

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        return pause_after(retry_state.attempt_number, FIRST_PAUSE, LONGEST_PAUSE).total_seconds()


def retry_until_reachable(
    request: Callable[[], T], on_unreachable: OnUnreachable, stop: threading.Event | None = None
) -> T | None:
    """Call a function until it does not raise `Unreachable`, with pauses that double up to a minute.

    Args:
        request: sends a request to a server. Any other error than `Unreachable` is raised at once.
        on_unreachable: called with the error of each failed attempt.
        stop: ends the waiting when it is set.

    Returns:
        What `request` returned; None when stopped before.
    """
    stop = threading.Event() if stop is None else stop
    if stop.is_set():
        return None

    def report(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, Unreachable):
            on_unreachable(error)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Unreachable),
        wait=_DoublingPause(),
        stop=tenacity.stop_when_event_set(stop),
        sleep=tenacity.sleep_using_event(stop),
        after=report,
        retry_error_callback=lambda state: None,
    )
    return retrying(request)


def wait_for_server(request: Callable[[], T], on_unreachable: OnUnreachable) -> T:
    """Call a function until it does not raise `Unreachable`, without a limit, and return what it returned.

    Args:
        request: sends a request to a server.
        on_unreachable: called with the error of each failed attempt.
    """
    # a list, because what `request` returns may be None
    found = retry_until_reachable(lambda: [request()], on_unreachable)
    assert found is not None
    return found[0]
