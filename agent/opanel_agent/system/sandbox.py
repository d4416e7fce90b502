"""Tests the systemd sandbox of this process: what systemd/opanel-agent.service promises, tried from inside.

A unit can fail open. `PrivateNetwork=` without the right to make a namespace is skipped with a line in the journal
(systemd 257 in a container), and an older systemd ignores the directives that it does not know. So each wall is tried by
the process that it is meant for, at every pass, and a wall that does not hold is named in the answer.

Trying changes nothing: sockets are made and closed, never connected. Left out: the cages of fetch and courier, which
are processes of their own, and what cannot be tried without doing harm where it succeeds (making a namespace).
"""

import mmap
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from opanel_agent.core.values import frozen

FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
# What is bound into the empty /run, and what systemd lays there for the service itself.
RUN: Final = frozenset({"credentials", "opanel-agent", "opanel-courier", "systemd", "udev"})
# `incoming` holds mounts that reach a running service; `propagate` was its name before.
RUN_SYSTEMD: Final = frozenset({"incoming", "inaccessible", "journal", "notify", "propagate"})
DEVICES: Final = frozenset(
    {"char", "core", "fd", "full", "hugepages", "log", "mqueue", "null", "ptmx", "pts", "random", "shm"}
    | {"stderr", "stdin", "stdout", "tty", "urandom", "zero"}
)
_CAPABILITIES: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


class Sandbox(Protocol):
    """Tests the sandbox of this process. Tests replace it."""

    def missing(self) -> tuple[str, ...]:
        """Returns the codes of the walls that do not hold, `missing.<code>` in the catalogs; () when all do."""
        ...


def _opens(family: int) -> bool:
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True


def _maps_code() -> bool:
    """Returns memory that can be written and run: what an exploit wants."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except OSError:
        return False
    return True


def _sets_priority() -> bool:
    """Returns one of the calls that the filter refuses and every process may make otherwise: to stay as it is."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
    except OSError:
        return False
    return True


def _read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


@frozen
class SandboxTests:
    """What is asked of the kernel by call instead of by file. True of the first three: it could be done."""

    opens: Callable[[int], bool] = _opens
    maps_code: Callable[[], bool] = _maps_code
    sets_priority: Callable[[], bool] = _sets_priority
    read_only: Callable[[Path], bool] = _read_only
    uid: Callable[[], int] = os.geteuid


class LocalSandbox:
    """This process's. `root` and `tries` are so that a test can lay out another."""

    def __init__(self, root: Path = Path("/"), *, tries: SandboxTests = SandboxTests()) -> None:
        self._root = root
        self._tries = tries

    def missing(self) -> tuple[str, ...]:
        """Returns the codes of the walls that do not hold or cannot be looked at."""
        return tuple(code for code, wall in WALLS.items() if not _holds(wall, self))

    # the walls, each True where it holds; OSError, ValueError or IndexError where it cannot be looked at

    def network_namespace(self) -> bool:
        """Returns not /sys/class/net: on systemd 252 it shows the host's (measured)."""
        lines = (self._root / "proc/self/net/dev").read_text("ascii").splitlines()[2:]
        return {line.partition(":")[0].strip() for line in lines} == {"lo"}

    def internet_sockets(self) -> bool:
        """Returns whether no socket of an internet family can be made (RestrictAddressFamilies=)."""
        return not any(self._tries.opens(family) for family in FAMILIES)

    def other_services(self) -> bool:
        """Returns whether /run holds the sockets of no other service (TemporaryFileSystem=/run)."""
        return self._names("run") <= RUN and self._names("run/systemd") <= RUN_SYSTEMD

    def own_user(self) -> bool:
        """Returns whether the process is not root (User=)."""
        return self._tries.uid() != 0

    def privileges(self) -> bool:
        """Returns whether no capability is held and none can be gained (NoNewPrivileges=, CapabilityBoundingSet=)."""
        status = (self._root / "proc/self/status").read_text("utf-8", "replace")
        fields = {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}
        return fields.get("NoNewPrivs") == "1" and all(int(fields.get(name, "1"), 16) == 0 for name in _CAPABILITIES)

    def system_calls(self) -> bool:
        """Returns whether the filter refuses a call that it names (SystemCallFilter=)."""
        return not self._tries.sets_priority()

    def memory_execute(self) -> bool:
        """Returns whether no memory can be writable and executable (MemoryDenyWriteExecute=)."""
        return not self._tries.maps_code()

    def read_only(self) -> bool:
        """Returns whether /usr and /etc are read-only (ProtectSystem=strict)."""
        return all(self._tries.read_only(self._root / name) for name in ("usr", "etc"))

    def home_directories(self) -> bool:
        """Returns whether /home cannot be listed (ProtectHome=)."""
        try:
            next((self._root / "home").iterdir(), None)
        except (PermissionError, FileNotFoundError):
            return True
        return False

    def devices(self) -> bool:
        """Returns whether /dev holds pseudo-devices alone (PrivateDevices=)."""
        return self._names("dev") <= DEVICES

    def processes(self) -> bool:
        """Returns of others: /proc/1 is always there, and never ours."""
        return not (self._root / "proc/1").exists()

    def temporary_files(self) -> bool:
        """Tells whether the folders are mounted there that systemd makes for one service (proc_pid_mountinfo(5))."""
        lines = (self._root / "proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
        private = {fields[4] for fields in (line.split(" ") for line in lines) if "/systemd-private-" in fields[3]}
        return {"/tmp", "/var/tmp"} <= private  # noqa: S108 - the places

    def _names(self, directory: str) -> set[str]:
        return {path.name for path in (self._root / directory).iterdir()}


# By their code in `isolation.missing` (docs/json.md).
WALLS: Final[Mapping[str, Callable[[LocalSandbox], bool]]] = {
    "network_namespace": LocalSandbox.network_namespace,
    "internet_sockets": LocalSandbox.internet_sockets,
    "other_services": LocalSandbox.other_services,
    "own_user": LocalSandbox.own_user,
    "privileges": LocalSandbox.privileges,
    "system_calls": LocalSandbox.system_calls,
    "memory_execute": LocalSandbox.memory_execute,
    "read_only": LocalSandbox.read_only,
    "home_directories": LocalSandbox.home_directories,
    "devices": LocalSandbox.devices,
    "processes": LocalSandbox.processes,
    "temporary_files": LocalSandbox.temporary_files,
}


def _holds(wall: Callable[[LocalSandbox], bool], cage: LocalSandbox) -> bool:
    """Returns what cannot be looked at, or is told in another form, is not known to hold."""
    try:
        return wall(cage)
    except (OSError, ValueError, IndexError):
        return False
