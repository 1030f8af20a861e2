"""The ledger, as assets and sensors get it."""

from __future__ import annotations

import dagster as dg

from mlops_assets.ledger.store import Ledger


class LedgerResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the facts of all projects are."""

    url: str

    def open(self) -> Ledger:
        """The ledger; its tables are created if they are not there."""
        return Ledger(self.url)
