"""Indexes that find what is free again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.drop_index("ix_licenses_free", table_name="licenses")
    op.create_index("ix_licenses_free", "licenses", ["free_at"])
    for name, columns, has in (
        ("ix_licenses_slot", ["delegation", "status", "free_at"], sa.text("slot IS NOT NULL")),
        ("ix_licenses_entry", ["delegation", "free_at"], sa.text("idx IS NOT NULL")),
    ):
        op.create_index(name, "licenses", columns, sqlite_where=has, postgresql_where=has)
