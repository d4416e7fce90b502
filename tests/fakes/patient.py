"""A system installation for `doctor` to look at, in one process: sound, until a test plants a fault.

The agent is `Simulated`, its answer comes from a real socket, fetch and courier are the real ones on a fake network, and
what lies on the disk, whose it is and how full it is, are values that a test changes.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fakes import forge
from fakes.agent import PATHS, STATUS_URL, InProcessOutlet, Simulated
from fakes.network import ok
from fakes.porter import Porter, porter
from fakes.terminal import Printed
from opanel_agent.cli import doctor
from opanel_agent.cli.client import Client
from opanel_agent.cli.grammar import read
from opanel_agent.cli.observe import Means
from opanel_agent.cli.output import Console, publish
from opanel_agent.cli.world import World
from opanel_agent.core.checkup import Seen, Space
from opanel_agent.core.errors import AgentError, Storage
from opanel_agent.core.reasons import Fault
from opanel_agent.core.request import Reply
from opanel_agent.system.paths import Paths
from opanel_agent.texts import Language

AGENT, COURIER, OPANEL = 990, 991, 992
DATE: Final = "Tue, 24 Nov 2026 09:00:00 GMT"  # forge.NOW
LIST: Final = "application/statuslist+jwt"
_ORDER: Final = ("ok", "not_needed", "not_looked_at", "warning", "failed")


@dataclass(slots=True, kw_only=True)
class FakeInspection:
    """Paths and what lies there; into `denied` folders this user may not look, for `broken` paths the disk fails."""

    seen: dict[Path, Seen] = field(default_factory=dict)
    spaces: dict[Path, Space] = field(default_factory=dict)
    denied: set[Path] = field(default_factory=set)
    broken: set[Path] = field(default_factory=set)
    users: dict[str, tuple[int, frozenset[int]]] = field(default_factory=dict)

    def look(self, path: Path) -> Seen | None:
        self._judge(path.parent, path)
        return self.seen.get(path)

    def names(self, directory: Path) -> tuple[str, ...]:
        self._judge(directory, directory)
        return tuple(sorted(path.name for path in self.seen if path.parent == directory))

    def space(self, path: Path) -> Space | None:
        self._judge(path.parent, path)
        return self.spaces.get(path)

    def user(self, name: str) -> tuple[int, frozenset[int]] | None:
        return self.users.get(name)

    def _judge(self, directory: Path, path: Path) -> None:
        if path in self.broken:
            raise Storage(Fault.IO_FAILED, "read_failed", file=str(path), errno="EIO")
        if directory in self.denied:
            raise Storage(Fault.NO_PERMISSION, "read_failed", file=str(path), errno="EACCES")


class PlannedDoors(InProcessOutlet):
    """As the real one; `silent` are programs whose door is opened by nobody, `told` what one answers instead."""

    def __init__(self, agent: Simulated) -> None:
        super().__init__(agent.outlet.reading)
        self.isolated = True
        self.silent: dict[str, AgentError] = {}
        self.told: dict[str, Reply] = {}
        self.knocked: list[tuple[str, bool]] = []
        self.fetched: list[str] = []

    def knock(self, program: str, *, signalled: bool) -> Reply:
        self.knocked.append((program, signalled))
        if program in self.silent:
            raise self.silent[program]
        return self.told.get(program) or super().knock(program, signalled=signalled)

    def fetch(self, word: str, *, signalled: bool) -> Reply:
        self.fetched.append(word)
        if word in self.silent:
            raise self.silent[word]
        return self.told.get(word) or super().fetch(word, signalled=signalled)


class Patient:
    """`socket` is where the resident answers, since /run is nobody's in a test."""

    def __init__(self, socket: Path, told: Porter) -> None:
        self.agent = Simulated()
        self.agent.install(forge.bundle())
        self.agent.publish({})
        self.agent.run("refresh")
        self.agent.network.on("GET", STATUS_URL, ok(b"a.b.c", LIST, headers=(("Date", DATE),)))
        self.agent.network.sent.clear()
        self.inspection = _layout()
        self.doors = PlannedDoors(self.agent)
        self.answer: dict[str, Any] = self.agent.run("tick")["answer"]
        self.answer["license"] |= {"state": "active", "reasons": ["ok"]}  # forge's machine is not this one
        self.euid = 0
        self.lang: Language = "en"
        self.now_s: float | None = None
        self._socket = socket
        self._porter = told

    @property
    def paths(self) -> Paths:
        return PATHS

    def put(self, path: Path, **changed: Any) -> None:
        """Something that lies there, or lies there otherwise."""
        usual = self.inspection.seen.get(path) or Seen(kind="file", uid=AGENT, gid=AGENT, mode=0o600)
        self.inspection.seen[path] = replace(usual, **changed)

    def deny(self, *paths: Path) -> None:
        """These and only these may not be read by this user."""

        def fault(_: str, path: Path) -> None:
            if path in paths:
                raise Storage(Fault.NO_PERMISSION, "read_failed", file=str(path), errno="EACCES")

        self.agent.files.fault = fault

    def settings(self, more: str) -> None:
        base = self.agent.files.read(PATHS.settings, max_bytes=10**6) or b""
        self.agent.files.put(PATHS.settings, base + more.encode())

    def world(self, console: Console) -> World:
        return World(
            paths=PATHS,
            files=self.agent.files,
            optouts=self.agent.opt_outs,
            client=Client(socket_path=self._socket),
            console=console,
            stdin=None,
            lang=self.lang,
            euid=self.euid,
            now_s=lambda: self.agent.clock.wall_s if self.now_s is None else self.now_s,
        )

    def see(self, *flags: str) -> Printed:
        """`doctor`, with what the test planted."""
        self._porter.replies["/v1/answer"] = []
        self._porter.says("/v1/answer", self.answer)
        return self.see_as_it_is(*flags)

    def see_as_it_is(self, *flags: str) -> Printed:
        """The same, whatever the resident was told to say."""
        means = Means(inspection=self.inspection, clock=self.agent.clock, doors=lambda _: self.doors)
        command = doctor.command(means)
        out, err = io.StringIO(), io.StringIO()
        console = Console(out=out, err=err)
        outcome = command.run(read(command, flags), self.world(console))
        publish(console, outcome, self.lang, as_json="--json" in flags)
        return Printed(status=outcome.exit_status, out=out.getvalue(), err=err.getvalue())

    def checks(self) -> dict[str, tuple[str, str | None]]:
        """Of each check what is worst about it: its status and its code, or why it was not made."""
        each = self.see("--json").json()["result"]["checks"]
        worst_last = sorted(each, key=lambda told: _ORDER.index(told["status"]))
        return {told["check"]: (told["status"], told["code"] or told["why"]) for told in worst_last}

    def found(self) -> dict[str, tuple[str, str | None]]:
        """What is not in order, and what was not looked at."""
        return {name: each for name, each in self.checks().items() if each[0] not in ("ok", "not_needed")}


@contextmanager
def patient(folder: Path) -> Iterator[Patient]:
    socket = folder / "agent.sock"
    with porter(socket) as told:
        yield Patient(socket, told)


def _layout() -> FakeInspection:
    """As the installer and the units leave it."""

    def folder(mode: int, uid: int = AGENT, gid: int = AGENT) -> Seen:
        return Seen(kind="folder", uid=uid, gid=gid, mode=mode)

    def file(mode: int, uid: int = AGENT, gid: int = AGENT, kind: str = "file") -> Seen:
        return Seen(kind=kind, uid=uid, gid=gid, mode=mode)

    room = Space(bytes_free=10**10, files_free=10**6, read_only=False)
    return FakeInspection(
        seen={
            Path("/opt/opanel-agent"): folder(0o755, 0, 0),
            PATHS.config_dir: folder(0o2755, 0),
            PATHS.settings: file(0o644, 0),
            PATHS.license: file(0o640, 0),
            PATHS.import_dir: folder(0o2750, 0),
            PATHS.import_dir / "status.jwt": file(0o640, 0),
            PATHS.consent: file(0o644, 0),
            PATHS.consent_dir: folder(0o2755, 0),
            PATHS.consent_dir / "fleet.toml": file(0o644, 0),
            PATHS.state_dir: folder(0o700),
            PATHS.bundle: file(0o600),
            PATHS.activation_key: file(0o600),
            PATHS.held: folder(0o700),
            PATHS.held / "usage-0123456789abcdef": file(0o600),
            PATHS.runtime_dir: folder(0o2750, gid=OPANEL),
            PATHS.socket: file(0o660, gid=OPANEL, kind="socket"),
            PATHS.answer: file(0o640, gid=OPANEL),
            PATHS.courier_dir: folder(0o700),
            PATHS.fetch_socket: file(0o600, kind="socket"),
            PATHS.courier_socket: file(0o600, kind="socket"),
        },
        spaces={PATHS.state_dir: room, PATHS.runtime_dir: room},
        users={
            "opanel-agent": (AGENT, frozenset({AGENT, OPANEL})),
            "opanel-courier": (COURIER, frozenset({COURIER})),
        },
    )
