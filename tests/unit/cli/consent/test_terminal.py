"""`setup` at a real terminal: a process of its own whose session has a pseudo-terminal, as a person would sit at one."""

import os
import pty
import select
import sys
import threading
import time
from pathlib import Path

import pytest

import opanel_agent
from fixtures.command_line import environment
from opanel_agent.core.consent.consent_file import parse
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.units import Language
from opanel_agent.messages import translate
from opanel_agent.system import terminal as teletype
from opanel_agent.system.storage.resources import Resources

AGENT = Path(opanel_agent.__file__).parent.parent
USAGE, CRASH = Purpose.USAGE_STATISTICS, Purpose.CRASH_REPORTS


class Session:
    """A real process with a pseudo-terminal for its session's; stdin is a pipe that is closed, as in `curl … | sh`."""

    def __init__(self, folder: Path, *argv: str, **more: str) -> None:
        self.text = ""
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            env = environment(folder, PYTHONPATH=str(AGENT), TERM="dumb", **more)
            os.execve(sys.executable, [sys.executable, "-m", "opanel_agent", *argv], {**env})  # noqa: S606

    def until(self, wanted: str) -> None:
        """Reads until this was printed once more."""
        mark, deadline = len(self.text), time.monotonic() + 30
        while wanted not in self.text[mark:]:
            assert time.monotonic() < deadline, self.text
            if not self._more():
                break
        assert wanted in self.text[mark:], self.text

    def type(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")

    def end(self) -> int:
        while self._more():
            pass
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def interrupt(self) -> None:
        os.write(self._fd, b"\x03")

    def _more(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], 30)
        try:
            data = os.read(self._fd, 65536) if ready else b""
        except OSError:  # the other side was closed
            data = b""
        self.text += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)


def settled(folder: Path) -> dict[Purpose, bool]:
    file = folder / "xdg-config" / "opanel-agent" / "consent.toml"
    return {purpose: choice.allow for purpose, choice in parse(file.read_bytes()).purposes.items()}


@pytest.mark.parametrize(
    ("lang", "yes", "read_on"), [("tr", "evet", "-- Enter: devamı --"), ("en", "y", "-- Enter: read on --")]
)
def test_a_person_at_a_terminal_reads_and_answers(tmp_path: Path, lang: Language, yes: str, read_on: str) -> None:
    session = Session(tmp_path, "setup", "--lang", lang)
    for _ in range((len(Resources().notice(lang).splitlines()) + 3) // 22):
        session.until(read_on)
        session.type("")
    session.until(translate("setup.prompt", lang))
    session.type(yes)
    session.until(translate("setup.prompt", lang))
    session.type("")
    assert session.end() == 0
    assert settled(tmp_path) == {USAGE: True, CRASH: False}
    assert "2/2  " in session.text
    assert "Traceback" not in session.text


@pytest.mark.parametrize(("lang", "typed"), [("en", "e\ny\ny\n"), ("tr", "e\ne\ne\n")])
def test_what_was_typed_before_a_question_was_shown_answers_none(tmp_path: Path, lang: Language, typed: str) -> None:
    """As while pip still runs: the keys wait in the terminal before setup exists, and again before each question."""
    session = Session(tmp_path, "setup", "--lang", lang)
    pages = (len(Resources().notice(lang).splitlines()) + 3) // 22
    session.type("\n" * pages + typed)
    for _ in range(pages):
        session.until("-- Enter: ")
        session.type("\n" + typed)
    session.until(translate("setup.prompt", lang))
    session.type("")
    session.until(translate("setup.prompt", lang))
    session.type("")
    assert session.end() == 0
    assert settled(tmp_path) == {USAGE: False, CRASH: False}


def test_a_person_who_interrupts_has_answered_nothing(tmp_path: Path) -> None:
    session = Session(tmp_path, "setup")
    session.until("Türkçe: t")
    session.interrupt()
    assert session.end() == 130
    assert not (tmp_path / "xdg-config" / "opanel-agent" / "consent.toml").exists()
    assert "Traceback" not in session.text


def test_a_terminal_under_do_not_track_is_not_asked(tmp_path: Path) -> None:
    session = Session(tmp_path, "setup", DO_NOT_TRACK="1")
    assert session.end() == 0
    line = " ".join(session.text.split())
    assert line == ("Not asked (do-not-track); no consent given. Answer: opanel-agent consent allow|deny PURPOSE")


def test_no_session_and_no_terminal_is_nobody(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("y\n")
    with file.open("rb") as stdin:
        assert teletype.find(stdin, str(tmp_path / "absent")) is None
        assert teletype.find(stdin, str(file)) is None
    assert teletype.find(None, str(tmp_path / "absent")) is None


def test_where_the_session_has_no_terminal_stdin_may_be_one(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "rb", buffering=0) as stdin:
        found = teletype.find(stdin, str(tmp_path / "absent"))
        assert found is not None
        assert found.rows > 0
        os.write(ours, b"too early\n")
        assert _answered(found, ours, b"evet\n") == "evet"
        assert _answered(found, ours, b"\x04") == ""
        found.show("şey")
        found.close()
    assert "şey" in _everything(ours).decode()
    os.close(ours)


def _answered(found: teletype.LocalTerminal, ours: int, typed: bytes) -> str:
    """What a question gets from a person who types once it is shown."""

    def person() -> None:
        shown = b""
        while not shown.endswith(b"now? "):
            shown += os.read(ours, 4096)
        os.write(ours, typed)

    reader = threading.Thread(target=person, daemon=True)
    reader.start()
    answer = found.ask("now?")
    reader.join(10)
    return answer


def _everything(terminal: int) -> bytes:
    """What was written to a terminal whose other end is closed: it comes in pieces."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # EIO: nobody has the other end any more
            return b"".join(pieces)
        pieces.append(piece)
