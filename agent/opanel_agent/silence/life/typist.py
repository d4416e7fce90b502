"""Somebody who types: each line in a terminal, at a moment that does not pass, with the packets of that while.

While lines are typed the clock of every process here stands still (`clock_overlay`), so that nothing falls due meanwhile:
the daemon does what it is asked and nothing else. What `sent/` holds is set aside before each group, since commands remove
it.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import tomli_w

from opanel_agent.core.consent import consent_file
from opanel_agent.core.consent.purposes import CONSENT_BASED
from opanel_agent.core.license import license_key
from opanel_agent.core.values import frozen
from opanel_agent.silence import namespace, server_copy, strace
from opanel_agent.silence.judge import Sends, Typed
from opanel_agent.silence.life import orphans, pseudo_terminal, typed_lines
from opanel_agent.silence.life.clock_overlay import SharedClock
from opanel_agent.silence.life.typed_lines import Line
from opanel_agent.system import environment, process
from opanel_agent.system.storage.installation import NAME
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.resources import installed_notice

LINE_S: Final = 60
SENT_ASIDE: Final = "sent.aside"
_DESK: Final = "desk"  # the folder in which somebody sits
_KEY_BYTES: Final = 16
_MAX_BYTES: Final = 1024 * 1024
_MAX_FIRST_LINE: Final = 512


@frozen
class Program:
    """How the installed programs are started: `traced` under strace, which writes to `folder`."""

    folder: Path
    environ: Mapping[str, str]
    traced: bool

    def process(self, word: str) -> list[str]:
        """Returns one of the processes, as the units start it."""
        return self.watched([sys.executable, "-I", "-m", "opanel_agent", word])

    def command(self, words: Sequence[str]) -> list[str]:
        """Returns a command as it is typed: by the installed file, where there is one."""
        file = entry()
        return self.watched([*([sys.executable, "-I", "-m", "opanel_agent"] if file is None else [str(file)]), *words])

    def watched(self, command: list[str]) -> list[str]:
        return strace.command(self.folder, command) if self.traced else command


def entry() -> Path | None:
    """Returns the file by which this installation's commands are started; None where it was not installed as one."""
    python = f"#!{sys.executable}"
    for file in (Path(sys.executable).with_name(NAME), Path("/usr/bin") / NAME):
        try:
            with file.open("rb") as opened:
                first = os.fsdecode(opened.readline(_MAX_FIRST_LINE)).split()
        except OSError:
            continue
        if first[:1] == [python]:
            return file
    return None


def shell() -> str | None:
    """Tells where bash is, in which completion runs."""
    return shutil.which(typed_lines.COMPLETION, path=environment.PATH)


class Typist:
    """Types lines. `heard` says how many connections the listener has had."""

    def __init__(self, program: Program, paths: Paths, clock: SharedClock, heard: Callable[[], int]) -> None:
        self._program, self._paths, self._clock, self._heard = program, paths, clock, heard
        self._typed: list[Typed] = []
        self._not_typed: dict[str, str] = {}
        self._desk = program.folder / _DESK
        self._desk.mkdir()

    @property
    def typed(self) -> tuple[Typed, ...]:
        """Everything so far, in order."""
        return tuple(self._typed)

    @property
    def not_typed(self) -> Mapping[str, str]:
        """What could not be, each with the reason."""
        return self._not_typed

    def type(self, lines: Iterable[Line], until_quiet: Callable[[], None]) -> None:
        """Types each while the clock stands still, once what was due before has been done. Raises OSError, TimeoutError."""
        self._set_sent_aside()
        fields = self._fields()
        self._clock.stop(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
        try:
            until_quiet()
            for line in lines:
                words = line.words(fields)
                if words is None:
                    self._not_typed[line.text] = typed_lines.NOTHING_HELD
                elif line.as_agent and self._paths.system:
                    self._not_typed[" ".join(words)] = typed_lines.OTHER_USER
                else:
                    self._one(" ".join(words), line.sends, partial(self._in_terminal, words))
        finally:
            self._clock.stop(0.0, 0.0)

    def complete(self) -> None:
        """Asks for the completion of every command in bash, and names what is never typed. Raises OSError."""
        self._not_typed.update(typed_lines.NEVER_TYPED)
        if entry() is None:
            self._not_typed[NAME] = typed_lines.ENTRY_ABSENT
        file = typed_lines.completion_file((Path(sys.prefix), Path("/usr/local"), Path("/usr")))
        bash = shell()
        if file is None or bash is None:
            self._not_typed[typed_lines.COMPLETION] = typed_lines.COMPLETION_ABSENT
            return
        tab = self._program.watched(typed_lines.tab_command(bash, file))
        self._one(f"{NAME} <Tab>", Sends.NOTHING, lambda: self._run(tab, typed_lines.tab_input()))

    def _one(self, line: str, sends: Sends, run: Callable[[], int]) -> None:
        before, first, known = namespace.traffic(), self._heard(), orphans.children()
        status = run()
        orphans.wait_for_others(known)
        if namespace.traffic() != before:
            namespace.settled()
        packets = namespace.traffic().since(before).packets
        self._typed.append(
            Typed(line=line, exit_status=status, packets=packets, sends=sends, heard=(first, self._heard()))
        )

    def _in_terminal(self, words: Sequence[str]) -> int:
        here = Path.cwd()
        os.chdir(self._desk)  # a request that may not be sent becomes a file there
        try:
            return pseudo_terminal.run(self._program.command(words), self._program.environ, LINE_S)
        finally:
            os.chdir(here)

    def _run(self, command: Sequence[str], stdin: bytes) -> int:
        return process.run(
            command,
            stdin,
            environment=self._program.environ,
            max_bytes=_MAX_BYTES,
            deadline_s=LINE_S,
            stderr="capture",
        ).status

    def _fields(self) -> dict[str, str]:
        """Returns what the braces of a line are filled with; an id only where something of its kind waits or waited."""
        held = (*server_copy.FILES.names(self._paths.held), *server_copy.FILES.names(self._paths.sent))
        reports = {
            field: next((name.partition(".")[0] for name in held if name.startswith(f"{field}-")), None)
            for field in ("usage", "crash")
        }
        answers = consent_file.fresh(installed_notice(), dict.fromkeys(CONSENT_BASED, False))
        server_copy.FILES.write(self._desk / "answers.toml", tomli_w.dumps(answers).encode("utf-8"))
        found = {
            "answers": str(self._desk / "answers.toml"),
            "export": str(self._desk / "export.jsonl"),
            "page": str(self._desk / "page.html"),
            "order": str(self._desk / "order.jwt"),
            "consent": str(self._paths.consent),
            "license": str(self._license()),
            "key": nobodys_key(),
        }
        return found | {field: name for field, name in reports.items() if name is not None}

    def _license(self) -> Path:
        """Returns this server's, else a file that is none and is refused."""
        for file in (self._paths.bundle, self._paths.license):
            if file.exists():
                return file
        file = self._desk / "license.jws"
        server_copy.FILES.write(file, b"none")
        return file

    def _set_sent_aside(self) -> None:
        aside = self._program.folder / SENT_ASIDE
        aside.mkdir(exist_ok=True)
        for name in server_copy.FILES.names(self._paths.sent):
            if name.endswith(".request"):
                shutil.copyfile(self._paths.sent / name, aside / name)


def nobodys_key() -> str:
    """Returns a license key drawn at random."""
    while (key := license_key.make(os.urandom(_KEY_BYTES))) is None:
        pass
    return key
