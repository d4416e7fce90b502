"""The HTTP service: agents, static files, the management API."""
