"""The books: what the authority remembers, in SQLite or PostgreSQL."""
