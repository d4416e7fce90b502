"""The state's own files, as they may be found: one that cannot be any is set aside and said, and ends no pass.

A file that is too large, a link, a pipe, a folder in its place: none of them was written by this agent. It keeps its bytes
under the name `<name>.broken`, once, and the pass goes on as if there were none.
"""

from pathlib import Path

from opanel_agent.core.errors import AgentError, Misconfigured, Storage
from opanel_agent.system.log import log_event
from opanel_agent.system.storage.files import Files


def read(files: Files, path: Path, *, max_bytes: int) -> bytes | None:
    """The content, None where there is none or what lies there was set aside. Raises Storage."""
    try:
        return files.read(path, max_bytes=max_bytes)
    except Misconfigured as refused:
        quarantine(files, path, refused)
        return None


def quarantine(files: Files, path: Path, refused: AgentError) -> None:
    """Out of the way, and said. What cannot even be moved stays, and is said at every pass."""
    broken = path.with_name(path.name + ".broken")
    try:
        files.move(path, broken)
    except Storage as stuck:
        log_event("state_stays_broken", level="error", file=path.name, error=str(stuck))
    else:
        log_event("state_set_aside", level="warning", file=path.name, kept_as=broken.name, detail=refused.detail)
