"""Facts about the clock and about windows: published, quarantined, labelled."""

from __future__ import annotations

from typing import Literal

from mlops_assets.ledger.facts.base import Fact


class ClockMoved(Fact):
    """A replay clock was moved to `at`."""

    kind: Literal["clock"] = "clock"

    @property
    def key(self) -> str:
        return self.at.isoformat()


class WindowPublished(Fact):
    """A window's rows passed their audit and can be read."""

    kind: Literal["published"] = "published"
    window: str
    data_version: str
    """md5 of the published rows."""
    rows: int
    gaps: int = 0
    repaired: bool = False
    """The window was quarantined before."""
    correction: bool = False
    """The window was published before, with other rows."""
    edition: int = 0
    """How often the window's rows changed before. Rows can change back to an earlier version, so the version alone is
    not a key."""

    @property
    def key(self) -> str:
        return _edition_key(self.window, self.data_version, self.edition)


class WindowQuarantined(Fact):
    """The rows or labels of a window failed their audit; they cannot be read until they pass."""

    kind: Literal["quarantined"] = "quarantined"
    window: str
    table: Literal["raw_data", "labels"] = "raw_data"
    data_version: str
    reasons: list[str]

    @property
    def key(self) -> str:
        return f"{self.table}:{self.window}:{self.at.isoformat()}"


class WindowLabelled(Fact):
    """A window's labels are known and published."""

    kind: Literal["labelled"] = "labelled"
    window: str
    data_version: str
    rows: int
    repaired: bool = False
    """The labels were quarantined before."""
    edition: int = 0
    """How often the window's labels changed before."""

    @property
    def key(self) -> str:
        return _edition_key(self.window, self.data_version, self.edition)


def _edition_key(window: str, data_version: str, edition: int) -> str:
    return f"{window}:{data_version}{f':{edition}' if edition else ''}"
