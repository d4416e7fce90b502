"""A whole agent in one process: evaluate, fetch and courier, the real ones, on a fake disk, clock, machine and network.

`Simulated.run(intent)` is one pass of evaluate. What it asks of the world goes through the real `fetch.answer` and
`courier.answer`, frame by frame, to a FakeNetwork that remembers every request let out.
"""

import random
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from fakes import forge
from fakes.clock import FakeClock
from fakes.files import MemoryFiles
from fakes.logs import LOGS
from fakes.machine import FakeMachine
from fakes.network import FakeNetwork
from opanel_agent.core.base64url import base64url
from opanel_agent.core.catalog import Catalog
from opanel_agent.core.consent import Signal, SignalKind, Signals
from opanel_agent.core.request import Reply, Sealed
from opanel_agent.core.strict_json import Members, dumps, loads
from opanel_agent.jobs import courier, evaluate, fetch
from opanel_agent.jobs.desk import World
from opanel_agent.jobs.fetch import Reading
from opanel_agent.jobs.report import ERASURE_BYTES
from opanel_agent.system import data, settings
from opanel_agent.system.consents import LocalConsents
from opanel_agent.system.paths import Paths

ROOT_FILE: Final = Path("/etc/opanel-agent/root.jws")
SETTINGS: Final = f'schema = 1\ntrust_root = "{ROOT_FILE}"\n'.encode()
STATUS_URL: Final = forge.MIRROR + "/v1/status.jwt"
ADVISORIES_URL: Final = forge.MIRROR + "/v1/advisories.jws"
ROOTS_URL: Final = forge.MIRROR + "/v1/roots.jws"
PATHS: Final = Paths(
    system=True,
    owner=0,
    config_dir=Path("/etc/opanel-agent"),
    state_dir=Path("/var/lib/opanel-agent"),
    runtime_dir=Path("/run/opanel-agent"),
)


@cache
def _catalog() -> Catalog:
    """Once for all agents of a test run: reading it takes longer than a pass of evaluate, and nothing changes it."""
    return data.load_catalog()


class SeededChance:
    """The same draws for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a simulation wants to draw the same twice

    def octets(self, count: int) -> bytes:
        drawn = self._random.randbytes(count)
        if count == ERASURE_BYTES:
            LOGS.plant_secret(drawn, "what a report is erased by")
        return drawn

    def fraction(self) -> float:
        return self._random.random()


class FakeOptOuts:
    """Signals that a test sets."""

    def __init__(self) -> None:
        self.signals = Signals()

    def read(self) -> Signals:
        return self.signals

    def say(self, *, do_not_track: bool = False, offline: bool = False) -> None:
        self.signals = Signals(
            do_not_track=(_file("/etc/do-not-track"),) if do_not_track else (),
            offline=(_file("/etc/opanel-agent/offline"),) if offline else (),
        )


class InProcessOutlet:
    """The real fetch and courier, called with the bytes that would cross the socket."""

    isolated = True

    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def fetch(self, word: str, *, signalled: bool) -> Reply:
        return Reply.decode(fetch.answer(word.encode() + b"\n", self._fresh()).encode())

    def courier(self, sealed: Sealed, *, signalled: bool) -> Reply:
        return Reply.decode(courier.answer(sealed.encode(), self._fresh()).encode())

    def knock(self, program: str, *, signalled: bool) -> Reply:
        answer = {"fetch": fetch.answer, "courier": courier.answer}[program]
        return Reply.decode(answer(b"", self._fresh()).encode())

    def _fresh(self) -> Reading:
        """Each is a new process with its own reading of the settings."""
        return replace(self.reading, settings=settings.load(self.reading.files, self.reading.paths))


class FakeCage:
    """Every wall holds, until a test names those that do not."""

    def __init__(self) -> None:
        self.without: tuple[str, ...] = ()

    def missing(self) -> tuple[str, ...]:
        return self.without


class Simulated:
    """One server's agent. Time begins at forge.NOW, when everything that forge signs is in force."""

    def __init__(self, *, seed: int = 1) -> None:
        self.files = MemoryFiles()
        self.clock = FakeClock(wall_s=forge.NOW)
        self.machine = FakeMachine()
        self.opt_outs = FakeOptOuts()
        self.network = FakeNetwork()
        self.cage = FakeCage()
        self.files.put(PATHS.settings, SETTINGS)
        self.files.put(ROOT_FILE, forge.root())
        reading = Reading(
            files=self.files,
            paths=PATHS,
            opt_outs=self.opt_outs,
            consents=LocalConsents(self.files, PATHS),
            catalog=_catalog(),
            notice=data.installed_notice(),
            settings=settings.load(self.files, PATHS),
            transport=self.network,
            clock=self.clock,
        )
        self.outlet = InProcessOutlet(reading)
        self.world = World(
            files=self.files,
            paths=PATHS,
            clock=self.clock,
            machine=self.machine,
            opt_outs=self.opt_outs,
            consents=reading.consents,
            catalog=reading.catalog,
            notice=reading.notice,
            outlet=self.outlet,
            cage=self.cage,
            chance=SeededChance(seed),
        )
        self.publish({})

    def publish(self, entries: dict[int, int], **claims: Any) -> None:
        """The authority's static files, signed now."""
        dates = {"iat": self.clock.wall_s, "exp": self.clock.wall_s + 7 * forge.DAY}
        token = forge.status_list(entries, **{**dates, **claims})
        self.network.serve(STATUS_URL, token, "application/statuslist+jwt")
        self.network.serve(ROOTS_URL, forge.root(), "application/jose")

    def run(self, intent: str, **extra: Any) -> dict[str, Any]:
        """One pass. The frame as the resident reads it: through its bytes."""
        asked = Members(loads(dumps({"schema": 1, "intent": intent, **extra}), max_bytes=10**6), "intent")
        asked.constant("schema", 1)
        frame = loads(dumps(evaluate.run(self.world, asked)), max_bytes=10**6, max_depth=16)
        assert isinstance(frame, dict)
        return frame

    def install(self, text: bytes) -> dict[str, Any]:
        return self.run("bundle", document=base64url(text))

    def license(self) -> dict[str, Any]:
        told: dict[str, Any] = self.run("tick")["answer"]["license"]
        return told


def _file(path: str) -> Signal:
    return Signal(kind=SignalKind.FILE, what="existence", place=path)
