"""The process that stays: waits, serves the last answer, starts jobs. Small for ever (docs/ARCHITECTURE.md).

Its values are NamedTuples, not dataclasses: 6 KB of memory for each class instead of 16 (Python 3.11, 2026-11-24).
"""
