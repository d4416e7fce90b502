"""The export of an agent that does not run: read by a process of the agent's own user, whatever root asks for.

What lies in the state's folder is that user's, a link in it, too: read by root, it could lead anywhere. Read by its owner it
leads nowhere that the owner could not go alone. Nothing is written there.
"""

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opanel_agent.core.errors import NotPermitted, Storage
from opanel_agent.core.reasons import Fault

READER: Final = (sys.executable, "-I", "-m", "opanel_agent", "export")
PASSED: Final = ("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME")  # where a user installation lies
DEADLINE_S: Final = 60.0


def export(state_dir: Path, reader: Sequence[str] = READER) -> bytes:
    """The whole export. Raises Storage where it cannot be read, NotPermitted for who is neither root nor the owner."""
    owner = _owner(state_dir)
    if os.geteuid() not in (0, owner.st_uid):
        raise NotPermitted(Fault.NO_PERMISSION, "need_owner")
    try:
        ran = _run(reader, owner)
    except (OSError, subprocess.SubprocessError) as exc:
        raise Storage(Fault.IO_FAILED, "export_unread", file=str(state_dir)) from exc
    if ran.returncode != 0 or not ran.stdout:
        raise Storage(Fault.IO_FAILED, "export_unread", file=str(state_dir))
    return ran.stdout


def _owner(state_dir: Path) -> os.stat_result:
    try:
        found = state_dir.lstat()
    except OSError as exc:
        raise Storage(Fault.IO_FAILED, "file_absent", file=str(state_dir)) from exc
    if not stat.S_ISDIR(found.st_mode):
        raise Storage(Fault.IO_FAILED, "file_absent", file=str(state_dir))
    return found


def _run(reader: Sequence[str], owner: os.stat_result) -> "subprocess.CompletedProcess[bytes]":
    as_root = os.geteuid() == 0 and owner.st_uid != 0
    return subprocess.run(
        reader,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd="/",
        env={name: os.environ[name] for name in PASSED if name in os.environ and not as_root},
        user=owner.st_uid if as_root else None,
        group=owner.st_gid if as_root else None,
        extra_groups=() if as_root else None,
        timeout=DEADLINE_S,
        check=False,
    )
