"""What all tests share; and the modules beside this file are importable for them."""

from __future__ import annotations

import pytest
from tide import States

from mlops_assets.garbage import collect_rarely

collect_rarely()


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory) -> States:
    return States(tmp_path_factory.mktemp("tide"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What goes on from the tide's states runs in one process, so that each state is made once."""
    for item in items:
        if "states" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("tide"))
