"""Fixtures of the loop tests: states of the simulated project `seeded`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import simulated_projects
from project_replays import bootstrapped_replay, resumed_replay


@pytest.fixture(autouse=True, scope="module")
def sources_without_edits_at_the_end() -> Iterator[None]:
    """Remove the edits and recorded calls of a module, so that no other module sees them."""
    yield
    simulated_projects.EDITS.clear()
    simulated_projects.COLLECTED.clear()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of the project `seeded` when its first model serves.

    Modules that go on from it are in the xdist group `seeded`, so that it is made once.
    """
    home = tmp_path_factory.mktemp("seeded") / "trained"
    with bootstrapped_replay(simulated_projects.simulated_project("seeded"), home):
        return home


@pytest.fixture(scope="session")
def unbroken(trained: Path) -> Path:
    """The state after `FORK` windows. Tests continue it with the same rule, or with a planted break."""
    home = trained.with_name("unbroken")
    with resumed_replay(simulated_projects.simulated_project("seeded"), trained, home) as play:
        play.advance(windows=simulated_projects.FORK)
    return home
