"""Run by Alembic on the caller's connection, so that the migrations are part of the caller's transaction."""

from alembic import context

from mlops_assets.ledger.database import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
