"""What is true for every world."""

from pathlib import Path

import pytest
import worlds
from plays import playing


@pytest.fixture(autouse=True, scope="module")
def sources_are_sound_at_first() -> None:
    """No module finds another one's edits of the sources."""
    worlds.EDITS.clear()
    worlds.COLLECTED.clear()


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of the seeded world where its two futures part: one goes on as it was, in the other the rule turns."""
    home = tmp_path_factory.mktemp("seeded") / "unbroken"
    with playing(worlds.world("seeded"), home) as play:
        play.advance(windows=worlds.FORK)
    return home
