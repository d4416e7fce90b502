"""Determines the kind of installation, of the system or of a user, and the paths where its daemon is met.

A *system installation* is code under /opt/opanel-agent or /usr that root owns: its paths are constants and its owner
is root. Everything else is a *user installation* (the demo, tests, a developer): the user's own directories, and the
uid that runs it is the owner. Which of the two it is follows from where this file lies, never from a flag or a
variable: nobody can talk an installed agent into reading other settings.

Nothing but os is imported, and paths are text: the daemon asks this, and pathlib would be 0.7 MB of it for ever.
"""
# ruff: noqa: PTH116, PTH117, PTH118 - as said

import os
import stat
from typing import Final

NAME: Final = "opanel-agent"
CODE: Final = __file__
SYSTEM_CODE: Final = ("/opt/opanel-agent", "/usr")
SYSTEM_RUNTIME: Final = "/run/opanel-agent"
SYSTEM_STATE: Final = "/var/lib/opanel-agent"
# What lies in the state directory, and the daemon reads.
LAST_LICENSE: Final = "answer.json"
# What lies in the runtime directory.
SOCKET: Final = "agent.sock"
ANSWER: Final = "answer.json"
DAEMON_LOCK: Final = "daemon.lock"


def is_system(code: str = CODE) -> bool:
    """Tells whether it is a system installation: the one that `code`, a file of this package, belongs to.

    Raises OSError.
    """
    real = os.path.realpath(code)
    return belongs_to_system(real, os.stat(real).st_uid)


def belongs_to_system(code: str, code_owner: int) -> bool:
    """Returns whether code at this real path, owned by this uid, is a system installation's: root's, below /opt or /usr."""
    return code_owner == 0 and code.startswith(tuple(f"{directory}/" for directory in SYSTEM_CODE))


def runtime_of_session(uid: int) -> str | None:
    """Returns a user installation's runtime directory; None without a login session (cron, a container, su).

    Not platformdirs: its newest falls back to /tmp with a warning, its older ones to what does not exist.
    """
    session = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    return os.path.join(session, NAME) if os.path.isabs(session) and _is_own_directory(session, uid) else None


def _is_own_directory(path: str, uid: int) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid
