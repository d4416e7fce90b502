"""Runs a program in a terminal of its own, as somebody sits at it who says yes to whatever is asked.

A question is a line that was begun and not ended, after which nothing comes. What was typed too early is thrown away by a
program that asks (`system.terminal`), so the answer is typed again for as long as the question stands.
"""

import os
import select
import signal
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from opanel_agent.system import process
from opanel_agent.system.process import Streams

YES: Final = b"y\n"
QUIET_S: Final = 0.3
_READ_BYTES: Final = 64 * 1024


def run(command: Sequence[str], environment: Mapping[str, str], deadline_s: float) -> int:
    """Returns the exit status, negative for a signal. Raises OSError, and TimeoutError once the deadline has passed."""
    ends_at = time.monotonic() + deadline_s
    ours, theirs = os.openpty()
    try:
        _silence(theirs)
        try:
            pid = process.start(command, environment, Streams(theirs, theirs, theirs))
        finally:
            os.close(theirs)
        try:
            _converse(ours, ends_at)
            return _status(pid, ends_at)
        finally:
            process.end_session(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
    finally:
        os.close(ours)


def _silence(terminal: int) -> None:
    """Turns off the echo, so that a question is still the last thing shown after an answer was typed."""
    modes = termios.tcgetattr(terminal)
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, modes)


def _converse(terminal: int, ends_at: float) -> None:
    """Converses until whoever has the terminal has left it."""
    shown = b""
    while time.monotonic() < ends_at:
        if select.select([terminal], [], [], QUIET_S)[0]:
            try:
                shown = os.read(terminal, _READ_BYTES) or shown
            except OSError:  # EIO: the other end is closed
                return
        elif shown and not shown.endswith(b"\n"):
            os.write(terminal, YES)
    raise TimeoutError


def _status(pid: int, ends_at: float) -> int:
    while (ended := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
        if time.monotonic() >= ends_at:
            raise TimeoutError
        time.sleep(0.005)
    return ended.si_status if ended.si_code == os.CLD_EXITED else -signal.Signals(ended.si_status).value
