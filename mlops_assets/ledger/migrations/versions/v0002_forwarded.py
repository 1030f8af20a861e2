"""Create the table of the positions up to which consumers have processed the facts."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "forwarded",
        sa.Column("consumer", sa.String, primary_key=True),
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
    )
