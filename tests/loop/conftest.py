"""What is true for every world."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import worlds
from plays import playing, resumed


@pytest.fixture(autouse=True, scope="module")
def sources_are_sound_at_last() -> Iterator[None]:
    """No module finds another one's edits of the sources."""
    yield
    worlds.EDITS.clear()
    worlds.COLLECTED.clear()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of the seeded world as its first model serves: what befalls it then differs from module to module.

    Modules that go on from it are of the group `seeded`, so that it is made once.
    """
    home = tmp_path_factory.mktemp("seeded") / "trained"
    with playing(worlds.world("seeded"), home):
        return home


@pytest.fixture(scope="session")
def unbroken(trained: Path) -> Path:
    """The same where two of its futures part: one goes on as it was, in the other the rule turns."""
    home = trained.with_name("unbroken")
    with resumed(worlds.world("seeded"), trained, home) as play:
        play.advance(windows=worlds.FORK)
    return home
