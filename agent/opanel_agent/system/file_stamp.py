"""Tells whether a file changed, by one lstat(2) and without reading it.

Without pathlib, because the daemon, which stays, compares stamps too.
"""

import os

ABSENT = ""
UNKNOWN = "?"


def stamp(path: str) -> str:
    """Returns what differs once a file or folder was edited, replaced, made or taken away. Never raises.

    `ABSENT` where nothing has the name, `UNKNOWN` for what cannot be looked at.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except (OSError, ValueError):
        return UNKNOWN
    return f"{found.st_ino}.{found.st_size}.{found.st_mode}.{found.st_uid}.{found.st_mtime_ns}.{found.st_ctime_ns}"
