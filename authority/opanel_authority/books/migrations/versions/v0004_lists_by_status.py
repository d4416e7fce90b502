"""Indexes by which lists of what is stopped, and the counts that are watched, read nothing else."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Brings books of version 3 to version 4, inside the caller's transaction."""
    op.drop_index("ix_licenses_status", table_name="licenses")
    op.create_index("ix_licenses_status", "licenses", ["status", "delegation", "created"])
    live = sa.text("ended IS NULL")
    op.create_index("ix_activations_live", "activations", ["seat"], sqlite_where=live, postgresql_where=live)
