"""Counts of what was drawn, beside the database: they outlive a database file that was put back from a copy.

A range of status entries and a delegation's slots are given out by counting. Were the count only in the database, an older
copy put back in its place would give the same entry and slot to a second customer, and suspending the one would suspend
the other. So each count is written to a small file of its own before the transaction that used it commits; the higher of
the two counts. A crash in between skips one number, which harms nobody.

The file is not synchronised to the disk: after a power cut the database, which is, has the higher count. A database on
another host has no such files; there `opanel-authority restore` skips what may have been given.
"""

import contextlib
import os
from pathlib import Path


class DrawMarks:
    """The counts under one directory, a file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, name: str) -> int:
        """Tells how many were drawn, as far as the file knows."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((self._directory / name).read_text(encoding="ascii"))
        return 0

    def write(self, name: str, count: int) -> None:
        """Raises OSError where it cannot be written: then nothing may be given out."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._directory / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, f"{count:020d}\n".encode("ascii"), 0)
        finally:
            os.close(descriptor)
