"""Simulated crashes of a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Crashed(BaseException):
    """A simulated crash. The platform's error handlers do not catch it; Dagster marks the run as failed."""


@contextmanager
def kill_after(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: Callable[..., bool] = lambda *_, **__: True
) -> Iterator[None]:
    """Crash once within the block, right after the first call of a function for which `when` is true."""
    original = getattr(owner, name)
    struck: list[str] = []

    def dying(*arguments: Any, **more: Any) -> Any:
        result = original(*arguments, **more)
        if not struck and when(*arguments, **more):
            struck.append(name)
            raise Crashed(f"right after {name}")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        yield
    assert struck, f"{name} was never called"
