"""The month: the installed evaluate on an injected clock, and for each request a forked fetch or courier.

`live` runs passes as the daemon would: a start, then each pass when the last one asked for it; one reboot, and one
`refresh` by the administrator. Evaluate runs in this process, which opens no connection: whatever crosses to the network
does so in a child of its own, running the very `fetch.answer` and `courier.answer` with the real transport, which the
real programs consist of. The kernel's counters are read around each child, so that each process answers for its own.

Nothing here knows that it is watched, but for those figures. `Parts` are what a test replaces to plant a leak.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import dumps, loads
from opanel_agent.core.errors import AgentError
from opanel_agent.core.license.effective_time import ClockReading as Clocks
from opanel_agent.core.license.effective_time import Wall
from opanel_agent.core.reporting.catalog import Catalog
from opanel_agent.core.units import DAY_S
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.evaluate import main
from opanel_agent.evaluate.ports import Ports
from opanel_agent.evaluate.reporting import crash
from opanel_agent.network import courier, fetch
from opanel_agent.network.client import NetworkClient
from opanel_agent.network.fetch import NetworkInputs
from opanel_agent.silence import namespace, server_copy
from opanel_agent.silence.judge import COURIER, EVALUATE, FETCH, Month, ProcessCount, Scenario, Traffic
from opanel_agent.system.clock import LocalClock
from opanel_agent.system.consent.consent_store import LocalConsents
from opanel_agent.system.consent.opt_outs import LocalOptOuts
from opanel_agent.system.http import HttpxTransport, Transport
from opanel_agent.system.machine import LocalMachine, Machine
from opanel_agent.system.randomness import OsRandom
from opanel_agent.system.sandbox import UntestedSandbox
from opanel_agent.system.storage import resources, settings
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.settings import Settings

RETRY_S: Final = 300  # as evaluate answers where it has no answer
PASSES_A_DAY: Final = 300  # one every five minutes; a month with more of them does not end by itself
_READ_BYTES: Final = 65536

Answering = Callable[[bytes, NetworkInputs], Reply]
ANSWERS: Final[Mapping[str, Answering]] = {FETCH: fetch.answer, COURIER: courier.answer}


def real_transport(told: Settings) -> Transport:
    return HttpxTransport(ca_file=told.ca_file, proxy=told.proxy, no_proxy=told.no_proxy)


def same_outlet(outlet: "ForkOutlet") -> NetworkClient:
    return outlet


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The real ones. `outlet` may put itself between evaluate and the children."""

    machine: Callable[[Mapping[str, str]], Machine] = LocalMachine
    transport: Callable[[Settings], Transport] = real_transport
    answers: Mapping[str, Answering] = field(default_factory=lambda: ANSWERS)
    outlet: Callable[["ForkOutlet"], NetworkClient] = same_outlet


class SetClock:
    """Begins where this machine's clocks stand, and moves when it is told to."""

    def __init__(self, begun: Clocks) -> None:
        self._wall_s = int(begun.wall_s)
        self._boottime_s = begun.boottime_s
        self._boots = 0

    def read(self) -> Clocks:
        return Clocks(wall_s=Wall(self._wall_s), boottime_s=self._boottime_s, boot_id=f"boot-{self._boots}")

    def read_wall(self) -> Wall:
        return Wall(self._wall_s)

    def advance(self, seconds: int) -> None:
        self._wall_s += seconds
        self._boottime_s += seconds

    def reboot(self) -> None:
        self._boottime_s = 60
        self._boots += 1


class ForkOutlet:
    """Each request in a child of its own. `shares` and `pids` say afterwards what was whose."""

    isolated = True

    def __init__(self, reading: Callable[[], NetworkInputs], answers: Mapping[str, Answering] = ANSWERS) -> None:
        self.shares = {FETCH: ProcessCount(), COURIER: ProcessCount()}
        self.pids: dict[int, str] = {}
        self._reading = reading
        self._answers = answers

    def fetch(self, word: str, *, signalled: bool) -> Reply:
        del signalled
        return self.run(FETCH, word.encode("ascii") + b"\n")

    def courier(self, sealed: Sealed, *, signalled: bool) -> Reply:
        del signalled
        return self.run(COURIER, sealed.encode())

    def run(self, program: str, question: bytes) -> Reply:
        """The reply of one child, through its bytes. Raises Untrusted where it died without one."""
        before = namespace.traffic()
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            _be(theirs, lambda: self._reply(program, question))
        os.close(theirs)
        self.pids[child] = program
        try:
            frame = _all(ours)
        finally:
            os.close(ours)
            os.waitpid(child, 0)
        self._count(program, namespace.traffic().since(before))
        return Reply.decode(frame)

    def _reply(self, program: str, question: bytes) -> Reply:
        try:
            return self._answers[program](question, self._reading())
        except AgentError as error:
            return fetch.refusal(error)

    def _count(self, program: str, seen: Traffic) -> None:
        share = self.shares[program]
        self.shares[program] = ProcessCount(
            started=share.started + 1, opens=share.opens + seen.opens, datagrams=share.datagrams + seen.datagrams
        )


def _be(answers_to: int, reply: Callable[[], Reply]) -> NoReturn:
    """The whole life of a child. It leaves without running anything of its parent's."""
    status = 1
    try:
        frame = reply().encode()
        while frame:
            frame = frame[os.write(answers_to, frame) :]
        status = 0
    finally:
        os._exit(status)


def _all(descriptor: int) -> bytes:
    parts = bytearray()
    while part := os.read(descriptor, _READ_BYTES):
        parts += part
    return bytes(parts)


def live(folder: Path, scenario: Scenario, days: int, parts: Parts, environ: Mapping[str, str]) -> Month:
    """One scenario's month, in its folder."""
    paths = server_copy.paths_in(folder, os.geteuid(), system=True)
    clock, catalog = SetClock(LocalClock().read()), resources.load_catalog()
    forks = ForkOutlet(lambda: _reading(paths, clock, catalog, parts.transport, environ), parts.answers)
    world = Ports(
        files=server_copy.FILES,
        paths=paths,
        clock=clock,
        machine=parts.machine(environ),
        opt_outs=LocalOptOuts(server_copy.FILES, paths, environ),
        consents=LocalConsents(server_copy.FILES, paths),
        catalog=catalog,
        notice=resources.installed_notice(),
        network=parts.outlet(forks),
        sandbox=UntestedSandbox(),
        random=OsRandom(),
    )
    if scenario is not Scenario.AS_IT_STANDS:
        _crash(paths)
    before = namespace.traffic()
    life = Life(world, clock, days)
    life.run()
    own = namespace.traffic().since(before)
    shares = {**forks.shares, EVALUATE: _rest(own, forks.shares)}
    return life.month(shares, forks.pids)


def _rest(whole: Traffic, shares: Mapping[str, ProcessCount]) -> ProcessCount:
    return ProcessCount(
        started=1,
        opens=whole.opens - sum(share.opens for share in shares.values()),
        datagrams=whole.datagrams - sum(share.datagrams for share in shares.values()),
    )


def _reading(
    paths: Paths,
    clock: SetClock,
    catalog: Catalog,
    transport: Callable[[Settings], Transport],
    environ: Mapping[str, str],
) -> NetworkInputs:
    """What a fresh fetch or courier reads; the catalog is the package's, and the same for all of them.

    Raises Misconfigured for refused settings.
    """
    told = settings.load(server_copy.FILES, paths)
    return NetworkInputs(
        files=server_copy.FILES,
        paths=paths,
        opt_outs=LocalOptOuts(server_copy.FILES, paths, environ),
        consents=LocalConsents(server_copy.FILES, paths),
        catalog=catalog,
        notice=resources.installed_notice(),
        settings=told,
        clock=clock,
        transport=transport(told),
    )


def _crash(paths: Paths) -> None:
    """Something to report: where crash reports are denied it must not leave either."""
    server_copy.FILES.make_dir(paths.state_dir)
    try:
        raise ArithmeticError  # noqa: TRY301 - a crash has a traceback
    except ArithmeticError as exc:
        crash.note(server_copy.FILES, paths, exc)


class Life:
    """Pass after pass until the days are over."""

    def __init__(self, world: Ports, clock: SetClock, days: int) -> None:
        self._world = world
        self._clock = clock
        self._days = days
        self._passes = 0
        self._failed = 0
        self._fault = ""
        self._now_s = 0

    def run(self) -> None:
        end_s = self._days * DAY_S
        events = [(0, "start"), (end_s // 3, "reboot"), (2 * end_s // 3, "refresh")]
        tick_s = end_s
        while self._now_s < end_s and self._passes < PASSES_A_DAY * self._days:
            if events and events[0][0] <= tick_s:
                at_s, intent = events.pop(0)
            else:
                at_s, intent = tick_s, "tick"
            self._clock.advance(at_s - self._now_s)
            self._now_s = at_s
            if at_s < end_s:
                tick_s = at_s + self._pass(intent)

    def month(self, shares: Mapping[str, ProcessCount], pids: Mapping[int, str]) -> Month:
        return Month(
            days=self._now_s // DAY_S,
            passes=self._passes,
            failed=self._failed,
            finished=self._now_s >= self._days * DAY_S,
            fault=self._fault,
            shares=shares,
            pids=pids,
        )

    def _pass(self, intent: str) -> int:
        """One pass, and in how many seconds the next is due. What fails is counted, as evaluate's main answers for it."""
        self._passes += 1
        if intent == "reboot":
            self._clock.reboot()
            intent = "start"
        asked = Members(loads(dumps({"schema": 1, "intent": intent}), max_bytes=_READ_BYTES), "intent")
        asked.constant("schema", 1)
        try:
            return _next_s(main.run(self._world, asked))
        except Exception as exc:  # noqa: BLE001 - as there: the life goes on
            self._failed += 1
            self._fault = str(exc) if isinstance(exc, AgentError) else type(exc).__name__
            return RETRY_S


def _next_s(frame: Mapping[str, Json]) -> int:
    """As the daemon reads it (`daemon.job_queue`)."""
    told = frame["next_run_s"]
    return min(max(told, 1), DAY_S) if isinstance(told, int) else RETRY_S
