"""The ledger: an append-only store of facts about each project's loop, and views of it."""
