"""Reads our state files: one that is corrupt or of the wrong type is renamed to `*.broken` and logged, and the pass goes on.

A file that is too large, a link, a pipe, a folder in its place: none of them was written by this agent. Nor does it help
that one is there that cannot be read (a bad sector, an owner of before a restore). It keeps its bytes under the name
`<name>.broken`, once, and the pass goes on as if there were none. So it is with a folder, and with the lock.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from opanel_agent.core.errors import AgentError, Misconfigured, Storage, Unreadable
from opanel_agent.system.log import log_event
from opanel_agent.system.storage.files import Files

MAX_BROKEN: Final = 9


def read(files: Files, path: Path, *, max_bytes: int) -> bytes | None:
    """Returns the content; None where there is none, or where the file was moved aside. Raises Storage."""
    try:
        return files.read(path, max_bytes=max_bytes)
    except (Misconfigured, Unreadable) as refused:
        quarantine(files, path, refused)
        return None


def open_folder(files: Files, folder: Path) -> None:
    """Makes a folder of the state that can be listed; what lies in its place and cannot is moved aside. Raises Storage."""
    files.make_dir(folder, mode=0o700)
    files.restore_access(folder)
    try:
        files.names(folder)
    except Unreadable as refused:
        quarantine(files, folder, refused)
        files.make_dir(folder, mode=0o700)


@contextmanager
def locked(files: Files, path: Path) -> Iterator[None]:
    """Holds the state's lock; what lies in its place and cannot be locked is moved aside. Raises Storage."""
    with ExitStack() as stack:
        try:
            stack.enter_context(files.lock(path))
        except Unreadable as refused:
            quarantine(files, path, refused)
            stack.enter_context(files.lock(path))
        yield


def quarantine(files: Files, path: Path, refused: AgentError) -> None:
    """Renames a broken file to `<name>.broken` and logs it. One that cannot be renamed is logged at every pass.

    A folder takes the place of no other: the second that is moved aside is `<name>.broken-2`, up to MAX_BROKEN.
    """
    stuck: Storage | None = None
    for end in (".broken", *(f".broken-{number}" for number in range(2, MAX_BROKEN + 1))):
        broken = path.with_name(path.name + end)
        try:
            files.move(path, broken)
        except Storage as error:
            stuck = stuck or error
        else:
            log_event("state_set_aside", level="warning", file=path.name, kept_as=broken.name, detail=refused.detail)
            return
    log_event("state_stays_broken", level="error", file=path.name, error=str(stuck))
