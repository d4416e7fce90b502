"""Asks questions on the controlling terminal (/dev/tty), wherever standard input and output lead.

`curl … | sh` gives its own stdin away, so the terminal of the session is asked for first; where there is none, stdin,
if that is one. Lines are the kernel's: editing, and Ctrl-C, work as everywhere.
"""

import os
import shutil
import termios
from typing import BinaryIO, Final, Protocol, TextIO

from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Storage
from opanel_agent.core.text_safety import escape_lines

SESSION: Final = "/dev/tty"
MAX_LINE: Final = 1024


class Terminal(Protocol):
    """Shows lines to a person and asks for one. Tests replace it."""

    @property
    def rows(self) -> int:
        """Returns the height of the terminal in lines."""
        ...

    def show(self, line: str) -> None:
        """Raises Storage where the terminal is gone."""
        ...

    def ask(self, prompt: str) -> str:
        """Returns the line that was typed since the prompt, without its end; "" when the input is over. Raises Storage."""
        ...


class LocalTerminal:
    """A terminal that is read as bytes and written as text."""

    def __init__(self, reading: BinaryIO, writing: TextIO) -> None:
        self._reading = reading
        self._writing = writing

    @property
    def rows(self) -> int:
        """Returns the height of the window in lines; 24 where it is not known."""
        try:
            return os.get_terminal_size(self._reading.fileno()).lines or shutil.get_terminal_size().lines
        except OSError:
            return shutil.get_terminal_size().lines

    def show(self, line: str) -> None:
        """Writes one line."""
        self._write(line + "\n")

    def ask(self, prompt: str) -> str:
        """Writes a prompt and reads one line of at most `MAX_LINE` bytes that was typed after it."""
        self._drop_typed()
        self._write(f"{prompt} ")
        try:
            return self._reading.readline(MAX_LINE).decode("utf-8", "replace").strip()
        except OSError as exc:
            raise Storage(Fault.IO_FAILED, "input_failed") from exc

    def _drop_typed(self) -> None:
        """Discards what was typed before now, once everything that precedes the prompt was shown.

        Not after the prompt: who answers it at once, a script above all, would wait for ever for what was discarded.
        """
        try:
            termios.tcdrain(self._writing.fileno())
            termios.tcflush(self._reading.fileno(), termios.TCIFLUSH)
        except (termios.error, OSError) as exc:
            raise Storage(Fault.IO_FAILED, "input_failed") from exc

    def close(self) -> None:
        """Closes the terminal; a command lets its own process's end do this."""
        self._reading.close()
        self._writing.close()

    def _write(self, text: str) -> None:
        try:
            self._writing.write(escape_lines(text))
            self._writing.flush()
        except OSError as exc:
            raise Storage(Fault.IO_FAILED, "output_failed") from exc


def find(stdin: BinaryIO | None, session: str = SESSION) -> LocalTerminal | None:
    """Returns the terminal of this session, else stdin's; None where nobody can be asked."""
    found = _open(session)
    if found is None and stdin is not None and stdin.isatty():
        found = _open(f"/dev/fd/{stdin.fileno()}")
    return found


def _open(path: str) -> LocalTerminal | None:
    try:
        reading = open(path, "rb", buffering=0)  # noqa: SIM115, PTH123 - both live as long as the process
        if not reading.isatty():
            reading.close()
            return None
        # Letters that the terminal's encoding lacks become question marks rather than an error.
        return LocalTerminal(reading, open(path, "w", errors="replace"))  # noqa: PTH123
    except OSError:
        return None
