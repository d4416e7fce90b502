"""Judges whether the installed code is the code that was published: the release manifest, and what differs from it."""
