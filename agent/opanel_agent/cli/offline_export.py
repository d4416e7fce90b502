"""Exports the data of an agent that does not run, and reads its records, in a process of the agent's own user.

What lies in the state's folder is that user's, a link in it, too: read by root, it could lead anywhere. Read by its owner it
leads nowhere that the owner could not go alone. Nothing is written there.
"""

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import NotPermitted, Storage
from opanel_agent.core.ledger.export import MAX_BYTES
from opanel_agent.system import environment, process
from opanel_agent.system.process import Credentials

PROGRAM: Final = (sys.executable, "-I", "-m", "opanel_agent")
READER: Final = (*PROGRAM, "export")
RECORDS: Final = (*PROGRAM, "records")
DEADLINE_S: Final = 60.0


def export(state_dir: Path, reader: Sequence[str] = READER) -> bytes:
    """Returns all that the reader says.

    Raises Storage where it cannot be read, NotPermitted for who is neither root nor the owner.
    """
    owner = _owner(state_dir)
    if os.geteuid() not in (0, owner.st_uid):
        raise NotPermitted(Fault.NO_PERMISSION, "need_owner")
    as_root = os.geteuid() == 0 and owner.st_uid != 0
    try:
        finished = process.run(
            reader,
            environment=environment.select(os.environ, user_folders=not as_root),
            max_bytes=MAX_BYTES,
            deadline_s=DEADLINE_S,
            identity=Credentials(uid=owner.st_uid, gid=owner.st_gid) if as_root else None,
        )
    except OSError as exc:
        raise Storage(Fault.IO_FAILED, "export_unread", file=str(state_dir)) from exc
    if finished.status != 0 or not finished.output:
        raise Storage(Fault.IO_FAILED, "export_unread", file=str(state_dir))
    return finished.output


def records(state_dir: Path, words: Sequence[str], reader: Sequence[str] = RECORDS) -> bytes:
    """Returns the frame with the records that the words name. Raises as `export` does."""
    return export(state_dir, (*reader, *words))


def _owner(state_dir: Path) -> os.stat_result:
    try:
        found = state_dir.lstat()
    except OSError as exc:
        raise Storage(Fault.IO_FAILED, "file_absent", file=str(state_dir)) from exc
    if not stat.S_ISDIR(found.st_mode):
        raise Storage(Fault.IO_FAILED, "file_absent", file=str(state_dir))
    return found
