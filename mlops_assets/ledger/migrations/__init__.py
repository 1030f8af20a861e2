"""The ledger's schema, version by version (Alembic); `database.py` brings a database up to date as it opens it."""
