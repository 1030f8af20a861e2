from __future__ import annotations

from pathlib import Path

import pytest
from tide import States


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory) -> States:
    base = tmp_path_factory.getbasetemp()
    # with xdist each worker has a folder of its own below the one that all share
    root: Path = (base.parent if base.name.startswith("popen-") else base) / "tide"
    root.mkdir(exist_ok=True)
    return States(root)
