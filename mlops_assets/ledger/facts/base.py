"""The base of facts: immutable records with a kind, a time and a key."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime

from mlops_assets.ledger.frozen import FrozenModel

Stage = Literal["ended", "labelled"]
"""How far a window is: its rows can be read, or its labels are known too."""
RequestedBy = Literal["policy", "person", "bootstrap", "hand"]
"""Who requested a training; `hand`: a person materialized assets in the UI."""


class Fact(FrozenModel):
    """Base of all ledger entries. A fact with the same project, kind and key is stored once."""

    kind: str
    at: AwareDatetime
    """The project's time at which the fact became true, in UTC."""

    @property
    def key(self) -> str:
        """Identifies the fact among those of its kind."""
        raise NotImplementedError
