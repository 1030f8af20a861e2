from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bundles import Version, Versions
from scoring_services import Client, Start, serving


@pytest.fixture
def prices(versions: Versions) -> dict[int, Version]:
    return versions["prices"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a service within this process, with its state in `tmp_path`."""
    with ExitStack() as stack:

        def started(version: Version, serve: int | None = 1, **settings: Any) -> Client:
            return stack.enter_context(serving(version, tmp_path, serve, **settings))

        yield started
