"""Networks of a license, and the entries and slots of licenses that were erased."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Brings books of version 1 to version 2, inside the caller's transaction."""
    op.add_column("licenses", sa.Column("networks", sa.Text(), nullable=True))
    op.create_table(
        "free_numbers",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("kind", "owner", "number"),
    )
