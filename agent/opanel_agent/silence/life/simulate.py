"""Lets the installed programs live for days: the real daemon, what it starts, and the commands that a person types.

`live` starts `python -I -m opanel_agent daemon` as the unit does; the daemon starts evaluate, and that fetch and courier,
all by their real entries. Their clock skips whatever they would wait for (`clock_overlay`). After a third of the days the
machine is restarted; after another third somebody types `license refresh`, or in one scenario every command that there is
(`typed_lines`).

Nothing of the product is imported or replaced here. Which process is which is told by a list of starts, which each writes
itself: a count, and no witness.
"""

import contextlib
import os
import signal
import site
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from opanel_agent.core.units import DAY_S, HOUR_S
from opanel_agent.evaluate.reporting import crash
from opanel_agent.silence import server_copy
from opanel_agent.silence.judge import COMMAND, DAEMON, EVALUATE, PROCESSES, Month, Scenario
from opanel_agent.silence.life import clock_overlay, orphans, typed_lines
from opanel_agent.silence.life.clock_overlay import BOOT_SHIFT, IDLE, SIZE, STRIDE, UNTIL, WALL_SHIFT, SharedClock
from opanel_agent.silence.life.typist import Program, Typist
from opanel_agent.silence.namespace import Layout
from opanel_agent.system import process
from opanel_agent.system.process import Streams
from opanel_agent.system.storage import installation
from opanel_agent.system.storage.paths import Paths, find

CLOCK_FILE: Final = "clock"
STARTS_FILE: Final = "starts"
BOOT_FILE: Final = "boot_id"
LOG_FILE: Final = "daemon.log"
BOOTED_S: Final = 60.0
# A server that may not ask looks every quarter of an hour whether it may: every wait of the first hours is as long as the
# daemon means it, later ones are as long as this at least, as on a machine that sleeps.
EVERY_WAIT_S: Final = 6 * HOUR_S
STRIDE_S: Final = 3 * HOUR_S
STOP_S: Final = 10.0
_LOG_CHARACTERS: Final = 300


class Unlived(Exception):
    """The days came to no end: the daemon died or hung. The text says how."""


def installed_paths(folder: Path) -> Paths:
    """Tells where the installed programs will look: a system installation's constants, else folders of the scenario's."""
    if installation.is_system():
        return find()
    home = folder / "home"
    return Paths(
        system=False,
        owner=os.geteuid(),
        config_dir=home / "config" / installation.NAME,
        state_dir=home / "state" / installation.NAME,
        runtime_dir=Path("/run/session") / installation.NAME,
    )


def user_folders(paths: Paths) -> dict[str, str]:
    """Returns the variables by which a user installation finds its folders."""
    if paths.system:
        return {}
    return {
        "XDG_CONFIG_HOME": str(paths.config_dir.parent),
        "XDG_STATE_HOME": str(paths.state_dir.parent),
        "XDG_RUNTIME_DIR": str(paths.runtime_dir.parent),
    }


def layout(folder: Path, hosts: Mapping[str, tuple[str, str]]) -> Layout:
    """Returns what has to be mounted for a life in `folder`, whose clock and list of starts are made."""
    (folder / CLOCK_FILE).write_bytes(bytes(SIZE))
    (folder / STARTS_FILE).touch()
    (folder / BOOT_FILE).write_text(f"{uuid.uuid4()}\n", "ascii")
    paths = installed_paths(folder)
    files = (str(folder / CLOCK_FILE), str(folder / STARTS_FILE))
    source = str(Path(clock_overlay.__file__))
    start = f"import sys; parts = {{}}; exec(open({source!r}).read(), parts); parts['install'](*{files!r})\n"
    return Layout(
        hosts=hosts,
        bound={
            paths.config_dir: folder / "config",
            paths.state_dir: folder / "state",
            paths.withdrawals: folder / server_copy.WITHDRAWALS,
            paths.runtime_dir.parent if not paths.system else paths.runtime_dir: folder / "run",
        },
        packages=next((Path(each) for each in site.getsitepackages() if Path(each).is_dir()), None),
        start=start,
        boot_id=folder / BOOT_FILE,
    )


def keep(folder: Path) -> None:
    """Moves what this server's agent has kept of its license into the state, which is in memory by now."""
    for file in (folder / server_copy.KEPT).iterdir():
        server_copy.FILES.write(folder / "state" / file.name, file.read_bytes(), mode=0o600)
        file.unlink()


def live(program: Program, days: int, deadline_s: float, scenario: Scenario, heard: Callable[[], int]) -> Month:
    """Lives one scenario's days. But as it stands, something is there to report.

    Where that is denied it must not leave either.

    `heard` says how many connections the listener has had.
    """
    orphans.adopt()
    life = Life(program, days, time.monotonic() + deadline_s, scenario, heard)
    fault = ""
    try:
        life.run()
    except (Unlived, OSError) as unlived:  # TimeoutError is one
        fault = str(unlived) or type(unlived).__name__
    finally:
        left = life.end()
    return life.month(fault, left)


def starts(folder: Path) -> dict[int, str]:
    """Returns which process was which: all that a person types is a command."""
    found: dict[int, str] = {}
    for line in (folder / STARTS_FILE).read_text("utf-8", "replace").splitlines():
        pid, _, word = line.partition(" ")
        found[int(pid)] = word if word in PROCESSES else COMMAND
    return found


def _crash(paths: Paths) -> None:
    server_copy.FILES.make_dir(paths.state_dir)
    try:
        raise ArithmeticError  # noqa: TRY301 - a crash has a traceback
    except ArithmeticError as exc:
        crash.note(server_copy.FILES, paths, exc)


class Life:
    """The daemon's, from its first start to its last end."""

    def __init__(
        self, program: Program, days: int, ends_at: float, scenario: Scenario, heard: Callable[[], int]
    ) -> None:
        self._scenario = scenario
        self._program = program
        self._days = days
        self._ends_at = ends_at
        self._clock = SharedClock(str(program.folder / CLOCK_FILE))
        self._typist = Typist(program, installed_paths(program.folder), self._clock, heard)
        self._started: int | None = None  # the daemon, or the strace around it
        self._answered = False
        self._threads = 0

    def run(self) -> None:
        """Raises Unlived, TimeoutError."""
        end_s = self._days * DAY_S
        self._start()
        self._advance(end_s / 3)
        if self._scenario is not Scenario.AS_IT_STANDS:
            _crash(
                installed_paths(self._program.folder)
            )  # by now the answers were seen: what came before a yes is not sent
        self._stop()
        self._reboot()
        self._start()
        self._advance(2 * end_s / 3)
        if self._scenario is Scenario.COMMANDS:
            for group in typed_lines.GROUPS:
                self._typist.type(group, self._until_quiet)
            self._typist.complete()
        else:
            self._typist.type(typed_lines.REFRESHED, self._until_quiet)
        self._advance(end_s)
        self._answered = (installed_paths(self._program.folder).runtime_dir / installation.ANSWER).exists()
        self._stop()
        if self._scenario is Scenario.COMMANDS:
            self._typist.type(typed_lines.AT_REST, lambda: None)

    def end(self) -> int:
        """Ends everything. Returns how many processes had been left behind by the daemon and the commands."""
        if self._started is not None:
            process.end_session(self._started)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._started, 0)
        return orphans.end()

    def month(self, fault: str, left: int) -> Month:
        counts = Counter(starts(self._program.folder).values())
        lived_s = self._clock.get(WALL_SHIFT)
        return Month(
            days=int(lived_s // DAY_S),
            passes=counts[EVALUATE],
            failed=0 if self._answered or fault else 1,
            finished=not fault and lived_s >= self._days * DAY_S,
            fault=fault,
            started=dict(counts),
            typed=self._typist.typed,
            not_typed=self._typist.not_typed,
            left=left,
            threads=self._threads,
        )

    def _start(self) -> None:
        with open(os.devnull, "rb") as nothing, open(self._program.folder / LOG_FILE, "ab") as log:  # noqa: PTH123
            self._started = process.start(
                self._program.process(DAEMON),
                self._program.environ,
                Streams(nothing.fileno(), log.fileno(), log.fileno()),
            )

    def _advance(self, until_s: float) -> None:
        """Lets the daemon live until then, and until it waits for more."""
        every_wait_s = min(until_s, float(EVERY_WAIT_S))
        for moment_s, stride_s in ((every_wait_s, 0.0), (until_s, float(STRIDE_S))):
            self._clock.set(STRIDE, stride_s)
            self._clock.set(UNTIL, max(moment_s, self._clock.get(UNTIL)))
            while self._clock.get(IDLE) < self._clock.get(UNTIL):
                self._look_at_daemon()
                time.sleep(0.005)
        self._threads = max(self._threads, _threads(self._daemon()))

    def _until_quiet(self) -> None:
        """Waits until the daemon has looked twice whether anything is due, at the moment at which the clock stands.

        The first look may have begun before that moment. Raises Unlived, TimeoutError.
        """
        for _ in range(2):
            self._clock.set(IDLE, 0.0)
            while self._clock.get(IDLE) < self._clock.get(UNTIL):
                self._look_at_daemon()
                time.sleep(0.005)

    def _look_at_daemon(self) -> None:
        if time.monotonic() > self._ends_at:
            raise TimeoutError
        if self._started is None or os.waitpid(self._started, os.WNOHANG) != (0, 0):
            self._started = None
            raise Unlived(self._log_end())

    def _log_end(self) -> str:
        return (self._program.folder / LOG_FILE).read_text("utf-8", "replace").strip()[-_LOG_CHARACTERS:]

    def _daemon(self) -> int:
        """Returns its pid: of the last one that was started."""
        return [pid for pid, name in starts(self._program.folder).items() if name == DAEMON][-1]

    def _stop(self) -> None:
        """Stops it as the unit does. Raises TimeoutError where it does not end."""
        os.kill(self._daemon(), signal.SIGTERM)
        ends_at = time.monotonic() + STOP_S
        while self._started is not None and os.waitpid(self._started, os.WNOHANG) == (0, 0):
            if time.monotonic() > ends_at:
                raise TimeoutError
            time.sleep(0.005)
        self._started = None

    def _reboot(self) -> None:
        (self._program.folder / BOOT_FILE).write_text(f"{uuid.uuid4()}\n", "ascii")
        self._clock.set(BOOT_SHIFT, BOOTED_S - time.clock_gettime(time.CLOCK_BOOTTIME))


def _threads(pid: int) -> int:
    """Tells how many threads a process has; it waits, so this is one where nothing else waits beside it."""
    text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Threads:")), 0)
