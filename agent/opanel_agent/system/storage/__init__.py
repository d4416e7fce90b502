"""Reads and writes files, and knows where each lies."""
