"""Alembic runs this, over the connection that it is handed: the caller's transaction holds a migration as a whole."""

from alembic import context

from mlops_assets.ledger.database import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
