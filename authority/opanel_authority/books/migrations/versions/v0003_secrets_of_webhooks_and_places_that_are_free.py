"""Secrets of webhooks that were rotated, and who named them; indexes that find what is free again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Brings books of version 2 to version 3, inside the caller's transaction."""
    op.add_column("webhooks", sa.Column("previous_secret", sa.String(length=64), nullable=True))
    op.add_column("webhooks", sa.Column("previous_until", sa.BigInteger(), nullable=True))
    # those that there are were all named by the vendor, by his command
    op.add_column("webhooks", sa.Column("inside", sa.Integer(), nullable=False, server_default="1"))
    op.drop_index("ix_licenses_free", table_name="licenses")
    op.create_index("ix_licenses_free", "licenses", ["free_at"])
    for name, columns, has in (
        ("ix_licenses_slot", ["delegation", "status", "free_at"], sa.text("slot IS NOT NULL")),
        ("ix_licenses_entry", ["delegation", "free_at"], sa.text("idx IS NOT NULL")),
    ):
        op.create_index(name, "licenses", columns, sqlite_where=has, postgresql_where=has)
