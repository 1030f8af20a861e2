"""Where a consumer of facts stands."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    """Make the table of places."""
    op.create_table(
        "forwarded",
        sa.Column("consumer", sa.String, primary_key=True),
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
    )
