"""A file system, read whole: what every file is, whose, and what is in it; and where two readings differ.

Left out is what a running system writes without being asked: the journal, systemd's own state, the log of boots, the
kernel's file systems, the backups that the system makes of its list of users.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_SYSTEMS: Final = ("dev", "proc", "run", "sys", "tmp", "var/log/journal", "var/log/wtmp", "var/lib/systemd", "var/tmp")
_BACKUPS: Final = ("etc/group-", "etc/gshadow-", "etc/passwd-", "etc/shadow-")
LEFT_OUT: Final = frozenset({*_SYSTEMS, *_BACKUPS})

Tree = Mapping[str, tuple[object, ...]]


def read(root: Path) -> Tree:
    return {name: _facts(root / name) for name in _names(root, "")}


def changed(before: Tree, after: Tree) -> list[str]:
    return [
        f"{'-' if name not in after else '+' if name not in before else '~'} /{name}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _names(root: Path, folder: str) -> Iterator[str]:
    for entry in os.scandir(root / folder):
        name = f"{folder}/{entry.name}".lstrip("/")
        if name in LEFT_OUT:
            continue
        yield name
        if entry.is_dir(follow_symlinks=False):
            yield from _names(root, name)


def _facts(path: Path) -> tuple[object, ...]:
    """Kind and mode, owner, content. Not the times: reading alone changes some."""
    status = path.lstat()
    content: object = None
    if stat.S_ISLNK(status.st_mode):
        content = str(path.readlink())
    elif stat.S_ISREG(status.st_mode):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    return status.st_mode, status.st_uid, status.st_gid, content
