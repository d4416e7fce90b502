"""Reads our state files: one that is corrupt or of the wrong type is renamed to `*.broken` and logged, and the pass goes on.

A file that is too large, a link, a pipe, a folder in its place: none of them was written by this agent. Nor does it help
that one is there that cannot be read (a bad sector, an owner of before a restore). It keeps its bytes under the name
`<name>.broken`, once, and the pass goes on as if there were none.
"""

from pathlib import Path

from opanel_agent.core.errors import AgentError, Misconfigured, Storage, Unreadable
from opanel_agent.system.log import log_event
from opanel_agent.system.storage.files import Files


def read(files: Files, path: Path, *, max_bytes: int) -> bytes | None:
    """Returns the content; None where there is none, or where the file was moved aside. Raises Storage."""
    try:
        return files.read(path, max_bytes=max_bytes)
    except (Misconfigured, Unreadable) as refused:
        quarantine(files, path, refused)
        return None


def quarantine(files: Files, path: Path, refused: AgentError) -> None:
    """Renames a broken file to `<name>.broken` and logs it. One that cannot be renamed is logged at every pass."""
    broken = path.with_name(path.name + ".broken")
    try:
        files.move(path, broken)
    except Storage as stuck:
        log_event("state_stays_broken", level="error", file=path.name, error=str(stuck))
    else:
        log_event("state_set_aside", level="warning", file=path.name, kept_as=broken.name, detail=refused.detail)
