"""Finds the processes that outlive who started them: as their adopted children, which the kernel makes them (prctl(2))."""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

LEFT_S: Final = 2.0
_LOOK_S: Final = 0.01
_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt() -> None:
    """Makes this process the parent of whatever its descendants leave behind, so that it is seen. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def children() -> frozenset[int]:
    """Returns the processes whose parent is this one, and which have not ended."""
    return frozenset(_children(os.getpid()))


def wait_for_others(known: frozenset[int]) -> None:
    """Waits for LEFT_S at most until there is no child but the `known`: what a program left running is part of it."""
    _wait_while(lambda: bool(children() - known))


def end() -> int:
    """Waits for whoever is left for LEFT_S, and kills the rest. Returns how many there were of these."""
    _wait_while(_reaped)
    killed: set[int] = set()
    while left := children():
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= left
        _reaped()
    return len(killed)


def _wait_while(anyone: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + LEFT_S
    while anyone() and time.monotonic() < ends_at:
        time.sleep(_LOOK_S)


def _reaped() -> bool:
    """Waits for whoever has ended. Returns whether a child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return False
    return True


def _children(parent: int) -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - numbers are wanted
        if name.isdecimal():
            with suppress(OSError):
                # The name in parentheses may hold anything; the state and the parent follow it (proc(5)).
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[1]) == parent and fields[0] != b"Z":
                    yield int(name)
