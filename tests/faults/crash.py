"""Ways to die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Crashed(BaseException):
    """No handler of the platform stops it, as none would stop a kill; Dagster finds that the run has failed."""


@contextmanager
def kill_after(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: Callable[..., bool] = lambda *_, **__: True
) -> Iterator[None]:
    """Within the block, die right after the first call of a function that `when` is true for; once, and for certain."""
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
