"""The Alembic migrations of the ledger's schema. `database.py` runs them when it opens a database."""
