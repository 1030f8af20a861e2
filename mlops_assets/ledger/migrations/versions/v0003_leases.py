"""Create the table of leases on the projects' loops."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "leases",
        sa.Column("project", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("place", sa.String, nullable=False),
        sa.Column("renewed", sa.BigInteger, nullable=False),
    )
