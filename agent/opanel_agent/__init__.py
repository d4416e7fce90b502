"""opanel-agent: what may this installation do, and what may leave this server."""

__version__ = "0.1.0"
