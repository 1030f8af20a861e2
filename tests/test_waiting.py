"""Waiting for a server: pauses, reports of failed attempts, and how the waiting ends."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from mlops_assets import waiting
from mlops_assets.errors import LedgerError, LedgerUnreachable, Unreachable
from mlops_assets.waiting import retry_until_reachable, wait_for_server

AWAY = LedgerUnreachable("small", "ledger", "it does not answer", "start it")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST_PAUSE", timedelta(milliseconds=1))


def never(error: Unreachable) -> None:
    pytest.fail(f"it must not be reported: {error}")


def away_times(count: int) -> list[Unreachable | None]:
    return [AWAY] * count + [None]


def test_request_is_repeated_until_the_server_answers() -> None:
    answers, reported = away_times(3), list[Unreachable]()

    def request() -> None:
        if (error := answers.pop(0)) is not None:
            raise error

    assert wait_for_server(request, reported.append) is None
    assert reported == [AWAY] * 3
    assert answers == []


def test_refusal_is_raised_at_once() -> None:
    def request() -> None:
        raise LedgerError("small", "ledger", "it refused a request", "check the password")

    with pytest.raises(LedgerError, match="refused"):
        wait_for_server(request, never)


def test_stop_ends_the_waiting_without_a_result() -> None:
    stop = threading.Event()

    def request() -> str:
        raise AWAY

    assert retry_until_reachable(request, lambda error: stop.set(), stop) is None
    assert retry_until_reachable(lambda: "never called", never, stop) is None
