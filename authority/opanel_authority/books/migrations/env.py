"""Alembic's entry: migrations run on the connection that `books.upgrade` gives them, inside its transaction."""

from alembic import context

from opanel_authority.books.tables import META_DATA

context.configure(connection=context.config.attributes["connection"], target_metadata=META_DATA, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
