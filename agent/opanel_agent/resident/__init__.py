"""The process that stays: waits, serves the last answer, starts jobs. Small for ever (docs/ARCHITECTURE.md)."""
