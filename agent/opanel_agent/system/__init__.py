"""Reaches everything outside the process: one thing a file, each behind a small Protocol that tests/fixtures implements."""
