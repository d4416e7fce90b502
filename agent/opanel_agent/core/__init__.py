"""Decisions.

No I/O, no clock, no environment, no randomness: bytes and values in, values
out.
"""
