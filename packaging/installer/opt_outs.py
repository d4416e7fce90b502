"""Whether whoever installs asks not to be tracked: by the variables here, or by those behind sudo, doas or pkexec.

Those drop such variables (env_reset) and wait with the environment that they were started with. Names count in capitals or
not; a value counts but nothing and `0`; as the agent reads them (opanel_agent.system.invoker, which is not here yet).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_NAMES: Final = frozenset({"DO_NOT_TRACK", "OPANEL_AGENT_DO_NOT_TRACK"})
_MARKS: Final = ("SUDO_UID", "DOAS_USER", "PKEXEC_UID")
_MAX_DEPTH: Final = 16  # of scripts and shells between sudo and this


def is_untracked() -> bool:
    found: Mapping[str, str] = os.environ
    pid = os.getppid()
    for _ in range(_MAX_DEPTH):
        if any(name.upper() in _NAMES and value not in {"", "0"} for name, value in found.items()):
            return True
        if not any(mark in found for mark in _MARKS):
            return False
        try:
            found, pid = _variables(pid), _parent(pid)
        except (OSError, ValueError, IndexError):
            return False
    return False


def _variables(pid: int) -> dict[str, str]:
    assignments = Path(f"/proc/{pid}/environ").read_text("utf-8", "surrogateescape").split("\0")
    pairs = (assignment.partition("=") for assignment in assignments)
    return {name: value for name, equals, value in pairs if equals}


def _parent(pid: int) -> int:
    """The fourth field of proc_pid_stat(5); the second, a name, may hold any byte but ends with the last bracket."""
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
