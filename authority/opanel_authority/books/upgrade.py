"""Migrations of the books, by Alembic: which version a database has, and how it gets to this one.

A new database is made from the tables and stamped
(`database.Store.create`). An older one is upgraded by `opanel-authority upgrade` with the service
stopped, in one transaction; there is no way back but the backup that was made before.
"""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

_SCRIPTS: Final = Path(__file__).parent / "migrations"


def newest() -> str:
    """Returns the version that this code reads and writes."""
    return str(ScriptDirectory.from_config(_config(None)).get_current_head())


def version_of(connection: Connection) -> str | None:
    """Returns the version of a database; None for one that no Alembic ever saw."""
    found = MigrationContext.configure(connection).get_current_revision()
    return None if found is None else str(found)


def upgrade(connection: Connection) -> tuple[str | None, str]:
    """Brings the tables to the newest version. Returns the versions before and after."""
    before = version_of(connection)
    command.upgrade(_config(connection), "head")
    return before, newest()


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    return config
