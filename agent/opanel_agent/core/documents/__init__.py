"""Signed documents, format 1: one file for each, and the envelope that they share (docs/license-format.md)."""
