"""Reads the opt-outs of whoever typed a command behind sudo(8), doas(1) or pkexec(1), which drop them (env_reset).

A person whose shell has `DO_NOT_TRACK=1` types `sudo opanel-agent …`, and the command never sees it. Such a program waits
for the command with the variables that it was started with, which root can read in proc_pid_environ(5). What is found can
only narrow. Left out: a shell that one of these programs became (`sudo` without PAM sessions), and su(1), which keeps the
variables or, as `su -`, says that it does not want them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from opanel_agent.system.environment import opt_out_names

_MARKS: Final = ("SUDO_UID", "DOAS_USER", "PKEXEC_UID")
_MAX_BYTES: Final = 256 * 1024
_MAX_DEPTH: Final = 16  # of scripts and shells between sudo and the command


def dropped_opt_outs(environ: Mapping[str, str], parent: int, proc: Path = Path("/proc")) -> dict[str, str]:
    """Returns the opt-outs among the variables of the nearest process from `parent` up that was not started by sudo.

    Empty where sudo did not start this command, or what is above cannot be read. Never raises.
    """
    found, pid = dict(environ), parent
    for _ in range(_MAX_DEPTH):
        if not any(mark in found for mark in _MARKS):
            return {} if pid == parent else {name: found[name] for name in opt_out_names(found)}
        try:
            found, pid = _variables(proc / str(pid)), _parent(proc / str(pid))
        except (OSError, ValueError, IndexError):
            break
    return {}


def _variables(process: Path) -> dict[str, str]:
    with (process / "environ").open("rb") as file:
        assignments = file.read(_MAX_BYTES).decode("utf-8", "surrogateescape").split("\0")
    pairs = (assignment.partition("=") for assignment in assignments)
    return {name: value for name, equals, value in pairs if equals}


def _parent(process: Path) -> int:
    """Returns the fourth field of proc_pid_stat(5).

    The second, a name, may hold any byte but ends with the last bracket.
    """
    return int((process / "stat").read_bytes().rpartition(b")")[2].split()[1])
