"""Moves the clock of every Python of a namespace; no process outside of one reads it.

The installed programs run as they are, and their month has to pass in a minute. No namespace moves CLOCK_REALTIME, and the
vDSO keeps it from strace, so the clock is moved inside Python: `namespace` lays a `.pth` file into its own view of
site-packages that calls `install` before anything else runs. The product has no part in it and no file of its own to read:
whoever can lay that file can run any code anyway.

The shared file has seven doubles: `WALL_SHIFT` and `BOOT_SHIFT`, the seconds added to each clock; `UNTIL`, the wall shift
that must not be exceeded; `STRIDE`, the least that is skipped at a time; `IDLE`, the `UNTIL` at which the daemon waits;
`WALL_STOPPED` and `BOOT_STOPPED`, the real times at which both clocks stand still, 0 where they go. The daemon's `epoll`
skips the wait instead of waiting, where nothing is ready and no job runs. The monotonic clock is real, so that deadlines on
the network are.

Left out: waits by a lock or by a signal, and clocks that are read by something else than Python.
"""

import contextlib
import mmap
import os
import select
import struct
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from typing import Any, Final

WALL_SHIFT, BOOT_SHIFT, UNTIL, STRIDE, IDLE, WALL_STOPPED, BOOT_STOPPED = range(7)
SIZE: Final = 7 * 8
DAEMON: Final = "daemon"
_LONGEST_S: Final = 0.02  # how long the daemon waits at `UNTIL` before it looks whether there is more
_WALLS: Final = frozenset({time.CLOCK_REALTIME, getattr(time, "CLOCK_REALTIME_COARSE", 5)})


class SharedClock:
    """The seven doubles, in memory that every process of the namespace shares. Raises OSError where the file is missing."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:  # noqa: PTH123 - pathlib is a tenth of what the short programs load
            self._memory = mmap.mmap(file.fileno(), SIZE)

    def get(self, place: int) -> float:
        return float(struct.unpack_from("=d", self._memory, place * 8)[0])

    def set(self, place: int, value: float) -> None:
        struct.pack_into("=d", self._memory, place * 8, value)

    def skip(self, seconds: float) -> None:
        """Moves both clocks."""
        for place in (WALL_SHIFT, BOOT_SHIFT):
            self.set(place, self.get(place) + seconds)

    def stop(self, wall_s: float, boot_s: float) -> None:
        """Lets both stand still at these real times; at (0, 0) they go on, as after a pause."""
        self.set(WALL_STOPPED, wall_s)
        self.set(BOOT_STOPPED, boot_s)


class SkippingEpoll:
    """`select.epoll` for the daemon: where it would only wait, the clock moves on."""

    def __init__(self, real: Callable[..., Any], clock: SharedClock, *arguments: int) -> None:
        self._real = real(*arguments)
        self._clock = clock

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever epoll has
        return getattr(self._real, name)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """Polls as epoll does. Returns without an event where the wait was skipped."""
        ready: list[tuple[int, int]] = self._real.poll(0, maxevents)
        if ready or timeout == 0:
            return ready
        if _has_children():
            return self._wait(timeout, maxevents)
        clock = self._clock
        left_s = clock.get(UNTIL) - clock.get(WALL_SHIFT)
        if left_s > 0:
            wait_s = left_s if timeout is None or timeout < 0 else max(timeout, clock.get(STRIDE))
            clock.skip(min(wait_s, left_s))
            return []
        clock.set(IDLE, clock.get(UNTIL))
        return self._wait(_LONGEST_S, maxevents)

    def _wait(self, timeout: float | None, maxevents: int) -> list[tuple[int, int]]:
        ready: list[tuple[int, int]] = self._real.poll(timeout, maxevents)
        return ready


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def install(clock_path: str, starts_path: str) -> None:
    """Moves this process's clocks and notes its start: pid, program, first argument. A second time it does nothing."""
    if not isinstance(time.time, types.BuiltinFunctionType):
        return  # a virtual environment's folder can be one of its base's, too
    clock = SharedClock(clock_path)
    _note_start(starts_path)
    _move_time(clock)
    _move_datetime()
    if sys.orig_argv[-1:] == [DAEMON]:
        epoll: Callable[..., Any] = select.epoll
        vars(select)["epoll"] = partial(SkippingEpoll, epoll, clock)  # no function: it becomes a member of a class


def _note_start(path: str) -> None:
    words = sys.orig_argv[sys.orig_argv.index("opanel_agent") + 1 :] if "opanel_agent" in sys.orig_argv else []
    line = f"{os.getpid()} {words[0] if words else '-'}\n".encode("utf-8", "replace")
    with contextlib.suppress(OSError):  # it is a count; whoever sends is counted elsewhere
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.write(descriptor, line)
        os.close(descriptor)


def _move_time(clock: SharedClock) -> None:
    real = {name: getattr(time, name) for name in ("time", "clock_gettime", "gmtime", "localtime", "ctime", "strftime")}
    real_asctime = time.asctime

    def moved_time() -> float:
        return float((clock.get(WALL_STOPPED) or real["time"]()) + clock.get(WALL_SHIFT))

    def moved_gettime(which: int) -> float:
        read = float(real["clock_gettime"](which))
        if which in _WALLS:
            return (clock.get(WALL_STOPPED) or read) + clock.get(WALL_SHIFT)
        if which == time.CLOCK_BOOTTIME:
            return (clock.get(BOOT_STOPPED) or read) + clock.get(BOOT_SHIFT)
        return read

    vars(time).update(
        time=moved_time,
        time_ns=lambda: int(moved_time() * 1e9),
        clock_gettime=moved_gettime,
        clock_gettime_ns=lambda which: int(moved_gettime(which) * 1e9),
        gmtime=lambda seconds=None: real["gmtime"](moved_time() if seconds is None else seconds),
        localtime=lambda seconds=None: real["localtime"](moved_time() if seconds is None else seconds),
        ctime=lambda seconds=None: real["ctime"](moved_time() if seconds is None else seconds),
        asctime=lambda moment=None: real_asctime(time.localtime() if moment is None else moment),
        strftime=lambda form, moment=None: real["strftime"](form, time.localtime() if moment is None else moment),
    )


def _move_datetime() -> None:
    """Moves `datetime.now`, which asks the kernel itself, and its class is not to be changed: another takes its place."""
    import datetime as dt

    real = dt.datetime

    class Kind(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

        def __subclasscheck__(cls, kind: type) -> bool:
            return issubclass(kind, real)

    def now(tz: dt.tzinfo | None = None) -> dt.datetime:
        return real.fromtimestamp(time.time(), tz)

    members = {
        "now": staticmethod(now),
        "today": staticmethod(now),
        "utcnow": staticmethod(lambda: now(dt.UTC).replace(tzinfo=None)),
    }
    vars(dt)["datetime"] = Kind(real.__name__, (real,), members)
