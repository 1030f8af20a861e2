"""What is true for every world."""

import pytest
import worlds


@pytest.fixture(autouse=True, scope="module")
def sources_are_sound_at_first() -> None:
    """No module finds another one's edits of the sources."""
    worlds.EDITS.clear()
    worlds.COLLECTED.clear()
