"""Alembic's scripts: `books.upgrade` runs them."""
