"""The outside, one thing a file, each behind a small Protocol that tests/fixtures implements."""
