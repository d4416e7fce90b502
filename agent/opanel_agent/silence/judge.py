"""What was observed against what may be: the findings, and the verdict. Pure.

Each row of the table looks at one thing, and a finding names the process where it can be told: a request's by what it is,
a call's by whoever made it; the kernel counts for all of them together.

Three witnesses, none of which replaces another: the kernel's counters (packets on any interface, connections opened,
datagrams sent), the listener's bytes, and strace's calls, which alone see a path socket. Where there was no strace,
`calls` is None and the result says so.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum, unique
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.text_safety import is_safe
from opanel_agent.core.values import field, frozen
from opanel_agent.silence.tls_greeting import Greeting, unchanged

EVALUATE: Final = "evaluate"
FETCH: Final = "fetch"
COURIER: Final = "courier"
DAEMON: Final = "daemon"
COMMAND: Final = "command"  # whatever a person types
OTHER: Final = "other"  # started by none of ours
PROCESSES: Final = (DAEMON, EVALUATE, FETCH, COURIER)
# glibc looks here for a cache of names before every lookup. In the chamber there is none, so the attempt fails.
NAME_CACHES: Final = frozenset({"/var/run/nscd/socket", "/run/nscd/socket"})
# What a lookup by glibc and a connection need: addresses of this machine, and the internet.
_NEEDED_TO_CONNECT: Final = frozenset({"AF_INET", "AF_INET6", "AF_NETLINK"})
_LINE_BYTES: Final = 120
# A line that was not understood, or that ended in a fault of the agent's, shows nothing of the command (docs/json.md).
_NO_ANSWER: Final = frozenset({64, 70})
# A renewal that was not answered is asked again on another day with the very same bytes, which tell nothing new.
_SENT_AGAIN: Final = frozenset({"license_renewal"})


@unique
class Scenario(StrEnum):
    AS_IT_STANDS = "as_it_stands"
    OFFLINE = "offline"
    DENIED = "denied"
    DO_NOT_TRACK = "do_not_track"
    COMMANDS = "commands"  # everything that a person can have sent, sent
    ALLOWED = "allowed"  # the positive control: everything allowed, and seen to leave


@unique
class Sends(StrEnum):
    """What a typed line may have sent."""

    NOTHING = "nothing"
    FIXED = "fixed"  # the GETs that are the same for everyone
    PROBED = "probed"  # these, and one connection to each address of each mirror, over which nothing is said
    ORDERED = "ordered"  # what it is typed for


@unique
class ViolationKind(StrEnum):
    """What speaks against a scenario."""

    MONTH_FAILED = "month_failed"
    PASSES_FAILED = "passes_failed"
    UNFINISHED = "unfinished"
    PACKETS = "packets"
    CONNECTIONS = "connections"
    DATAGRAMS = "datagrams"
    OTHER_PACKETS = "other_packets"
    REQUEST_UNEXPECTED = "request_unexpected"
    REQUEST_MISSING = "request_missing"
    REPORT_MISSING = "report_missing"
    COURIER_STARTED = "courier_started"
    INTERNET_SOCKET = "internet_socket"
    PATH_SOCKET = "path_socket"
    PROGRAM_STARTED = "program_started"
    GREETING_UNEXPECTED = "greeting_unexpected"
    GREETING_UNCHANGED = "greeting_unchanged"
    PROCESS_LEFT = "process_left"
    THREAD_KEPT = "thread_kept"
    COMMAND_SENT = "command_sent"
    COMMAND_FAILED = "command_failed"


@frozen
class Traffic:
    """What the kernel counted in this network: packets of both directions, TCP connections opened, UDP datagrams sent.

    `segments` are TCP's, retransmitted ones among them: what was a packet and no segment was something else.
    """

    packets: int = 0
    opens: int = 0
    datagrams: int = 0
    segments: int = 0

    def since(self, before: "Traffic") -> "Traffic":
        return Traffic(
            packets=self.packets - before.packets,
            opens=self.opens - before.opens,
            datagrams=self.datagrams - before.datagrams,
            segments=self.segments - before.segments,
        )


@frozen
class CapturedRequest:
    """Where a connection went, and every byte that came over it, inside of TLS where that was spoken."""

    address: str
    port: int
    data: bytes
    tls: bool = False


@frozen
class Report:
    """What `sent/` keeps of a posted request, at each address that its host has."""

    purpose: str
    requests: frozenset[CapturedRequest]


@frozen
class Typed:
    """A line that was typed, how it ended, and the packets of that while.

    `heard` are the numbers of the connections that began then, from the first until before the second.
    """

    line: str
    exit_status: int
    packets: int = 0
    sends: Sends = Sends.NOTHING
    heard: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Json]:
        return {
            "line": self.line,
            "exit_status": self.exit_status,
            "packets": self.packets,
            "connections": self.heard[1] - self.heard[0],
            "sends": str(self.sends),
        }


@frozen
class Month:
    """How the installed programs lived. `fault`: why the days came to no end; `failed`: 1 where there was no answer then.

    `started` counts processes by name, `typed` is what a person did, `not_typed` what nobody could, each with the reason.
    `left` are processes that outlived who started them, `threads` the daemon's while it waits.
    """

    days: int
    passes: int
    failed: int = 0
    finished: bool = True
    fault: str = ""
    started: Mapping[str, int] = field(default_factory=dict)
    typed: tuple[Typed, ...] = ()
    not_typed: Mapping[str, str] = field(default_factory=dict)
    left: int = 0
    threads: int = 1


@frozen
class Call:
    """A system call, as strace saw it: `place` is a path socket's, `family` a new socket's, `program` what was started."""

    process: str
    name: str
    family: str = ""
    place: str = ""
    program: str = ""
    failed: bool = False


@frozen
class Expected:
    """What a scenario may show. Each group of `fixed` is one GET, at every mirror and each of their addresses.

    `purposes` are those that may post reports, `besides` those that may post something or nothing at all. `must_speak`:
    every GET and every purpose is to be seen at least once, so that a month in which nothing happened proves nothing.
    `may_fail`: passes may end without an answer, as they would here. `greetings` are the
    shapes with which TLS may be opened, by address and port. `places` are our own path sockets, `programs` what
    ours may start, `shells` what a person types to, and no process of ours starts.
    """

    fixed: tuple[frozenset[CapturedRequest], ...] = ()
    purposes: frozenset[str] = frozenset()
    besides: frozenset[str] = frozenset()
    must_speak: bool = False
    may_fail: bool = False
    greetings: frozenset[tuple[str, int, bytes]] = frozenset()
    places: frozenset[str] = frozenset()
    programs: frozenset[str] = frozenset()
    shells: frozenset[str] = frozenset()

    @property
    def silent(self) -> bool:
        return not self.fixed and not self.posting

    @property
    def posting(self) -> frozenset[str]:
        return self.purposes | self.besides


@frozen
class Observed:
    """What the three witnesses saw of one life."""

    traffic: Traffic
    month: Month
    received: tuple[CapturedRequest, ...] = ()
    greetings: tuple[Greeting, ...] = ()
    reports: tuple[Report, ...] = ()
    calls: tuple[Call, ...] | None = None


@frozen
class Violation:
    """`process` "" where it cannot be told; `what` is a place or the beginning of a request."""

    why: ViolationKind
    process: str = ""
    count: int = 1
    what: str = ""

    def to_json(self) -> dict[str, Json]:
        return {"code": str(self.why), "process": self.process or None, "count": self.count, "what": self.what}


Row = Callable[[Expected, Observed], Iterable[Violation]]


def judge(expected: Expected, observed: Observed) -> tuple[Violation, ...]:
    """Returns everything that speaks against it; nothing where it holds."""
    return tuple(finding for row in _ROWS for finding in row(expected, observed))


# ---- rows


def _life(expected: Expected, observed: Observed) -> Iterator[Violation]:
    month = observed.month
    if month.left:
        yield Violation(why=ViolationKind.PROCESS_LEFT, count=month.left)
    if month.threads > 1:
        yield Violation(why=ViolationKind.THREAD_KEPT, process=DAEMON, count=month.threads - 1)
    if month.fault:
        yield Violation(why=ViolationKind.MONTH_FAILED, what=month.fault)
        return
    if not month.finished:
        yield Violation(why=ViolationKind.UNFINISHED, process=EVALUATE, count=month.passes)
    if month.failed and not expected.may_fail:
        yield Violation(why=ViolationKind.PASSES_FAILED, process=EVALUATE, count=month.failed)


def _packets(expected: Expected, observed: Observed) -> Iterator[Violation]:
    if expected.silent and observed.traffic.packets:
        yield Violation(why=ViolationKind.PACKETS, count=observed.traffic.packets)


def _connections(_: Expected, observed: Observed) -> Iterator[Violation]:
    """Yields a violation for a connection that the kernel counted and the listener has not, or that was opened besides."""
    unheard = observed.traffic.opens - len(observed.received)
    if unheard:
        yield Violation(why=ViolationKind.CONNECTIONS, count=unheard)


def _datagrams(_: Expected, observed: Observed) -> Iterator[Violation]:
    """Yields a violation for any datagram.

    Names come from the chamber's hosts file, so a lookup that asks a server was of another name.
    """
    if observed.traffic.datagrams:
        yield Violation(why=ViolationKind.DATAGRAMS, count=observed.traffic.datagrams)


def _other_packets(_: Expected, observed: Observed) -> Iterator[Violation]:
    """Yields a violation for packets of neither TCP nor UDP: raw sockets, ICMP."""
    other = observed.traffic.packets - observed.traffic.segments - observed.traffic.datagrams
    if other > 0:
        yield Violation(why=ViolationKind.OTHER_PACKETS, count=other)


def _requests(expected: Expected, observed: Observed) -> Iterator[Violation]:
    """Yields a violation for any byte but a fixed GET's, or a copy of what `sent/` says of a purpose that may report."""
    allowed = frozenset[CapturedRequest]().union(*expected.fixed)
    probes = frozenset(_probes(allowed, observed))
    kept = [report for report in observed.reports if report.purpose in expected.posting]
    for number, request in enumerate(observed.received):
        if request in allowed or number in probes:
            continue
        copy = next((report for report in kept if request in report.requests), None)
        if copy is not None:
            if copy.purpose not in _SENT_AGAIN:
                kept.remove(copy)  # each was kept for one sending
            continue
        process = COURIER if request.data.startswith(b"POST ") else FETCH
        yield Violation(why=ViolationKind.REQUEST_UNEXPECTED, process=process, what=_shown(request))


def _probes(allowed: frozenset[CapturedRequest], observed: Observed) -> Iterator[int]:
    """Yields the numbers of the connections by which a typed line tried an address.

    At most one to each, and nothing said.
    """
    for typed in observed.month.typed:
        if typed.sends is not Sends.PROBED:
            continue
        places = {(each.address, each.port) for each in allowed}
        for number, request in enumerate(observed.received[slice(*typed.heard)], start=typed.heard[0]):
            if not request.data and (request.address, request.port) in places:
                places.remove((request.address, request.port))
                yield number


def _greetings(expected: Expected, observed: Observed) -> Iterator[Violation]:
    """Yields a violation for clear text before the encryption that is not the library's own, or never random."""
    odd = [each for each in observed.greetings if (each.address, each.port, each.shape) not in expected.greetings]
    if odd:
        yield Violation(why=ViolationKind.GREETING_UNEXPECTED, count=len(odd), what=f"{odd[0].address}:{odd[0].port}")
    same = unchanged([each.drawn for each in observed.greetings])
    if same:
        yield Violation(why=ViolationKind.GREETING_UNCHANGED, count=same)


def _missing(expected: Expected, observed: Observed) -> Iterator[Violation]:
    received = frozenset(observed.received)
    for report in observed.reports:
        if not report.requests & received:
            yield Violation(why=ViolationKind.REQUEST_MISSING, process=COURIER, what=report.purpose)
    if not expected.must_speak:
        return
    for get in expected.fixed:
        if not get & received:
            yield Violation(
                why=ViolationKind.REQUEST_MISSING, process=FETCH, what=_shown(min(get, key=lambda each: each.address))
            )
    for purpose in sorted(expected.purposes - {report.purpose for report in observed.reports}):
        yield Violation(why=ViolationKind.REPORT_MISSING, process=COURIER, what=purpose)
    if not expected.fixed:
        yield Violation(why=ViolationKind.REQUEST_MISSING, process=FETCH)


def _started(expected: Expected, observed: Observed) -> Iterator[Violation]:
    """Yields a violation for a needless start: where nothing may be posted, the courier is never started.

    Where nothing may be asked, nobody is.
    """
    forbidden = [COURIER] if not expected.posting else []
    forbidden += [FETCH] if expected.silent else []
    for process in forbidden:
        count = observed.month.started.get(process, 0)
        if count:
            yield Violation(why=ViolationKind.COURIER_STARTED, process=process, count=count)


def _typed(_: Expected, observed: Observed) -> Iterator[Violation]:
    """Yields a violation for a line that opened or posted what it does not say, or was no command at all."""
    for typed in observed.month.typed:
        heard = observed.received[slice(*typed.heard)]
        posted = [request for request in heard if request.data.startswith(b"POST ")]
        if typed.sends is Sends.NOTHING and typed.packets:
            yield Violation(why=ViolationKind.COMMAND_SENT, process=COMMAND, count=typed.packets, what=typed.line)
        elif typed.sends in (Sends.FIXED, Sends.PROBED) and posted:
            yield Violation(why=ViolationKind.COMMAND_SENT, process=COMMAND, count=len(posted), what=typed.line)
        if typed.exit_status in _NO_ANSWER or typed.exit_status < 0:
            yield Violation(why=ViolationKind.COMMAND_FAILED, process=COMMAND, what=typed.line)


def _calls(expected: Expected, observed: Observed) -> Iterator[Violation]:
    found: Counter[tuple[ViolationKind, str, str]] = Counter()
    for call in observed.calls or ():
        may_connect = not expected.silent and call.process in (FETCH, COURIER)
        shell = call.process == OTHER and bool(expected.shells)  # it looks for its user's name
        looked_up = (may_connect or shell) and call.failed and call.place in NAME_CACHES
        if call.place and not looked_up and call.place not in expected.places:
            found[ViolationKind.PATH_SOCKET, call.process, call.place] += 1
        if call.family not in ("", "AF_UNIX") and not (may_connect and call.family in _NEEDED_TO_CONNECT):
            found[ViolationKind.INTERNET_SOCKET, call.process, call.family] += 1
        known = expected.programs | (expected.shells if call.process == OTHER else frozenset())
        if call.program and call.program not in known:
            found[ViolationKind.PROGRAM_STARTED, call.process, call.program] += 1
    for (why, process, what), count in sorted(found.items()):
        yield Violation(why=why, process=process, count=count, what=what)


_ROWS: Final[tuple[Row, ...]] = (
    _life,
    _packets,
    _connections,
    _datagrams,
    _other_packets,
    _requests,
    _greetings,
    _missing,
    _started,
    _typed,
    _calls,
)


def _shown(request: CapturedRequest) -> str:
    """Returns the first line, for a person. Bytes that are no text are told by their number."""
    line = request.data.partition(b"\r\n")[0][:_LINE_BYTES].decode("ascii", "replace")
    return f"{request.address}:{request.port} {line if is_safe(line) else ''}({len(request.data)})"


# ---- what is told


def violations_json(scenario: Scenario, expected: Expected, observed: Observed) -> dict[str, Json]:
    """Returns one scenario's part of the result."""
    findings = judge(expected, observed)
    month = observed.month
    why: list[Json] = [finding.to_json() for finding in findings]
    return {
        "name": str(scenario),
        "ok": not findings,
        "packets": observed.traffic.packets,
        "connections": observed.traffic.opens,
        "udp": observed.traffic.datagrams,
        "requests": _grouped(observed.received),
        "commands": [typed.to_json() for typed in month.typed],
        "not_typed": [{"line": line, "code": code} for line, code in sorted(month.not_typed.items())],
        "passes": month.passes,
        "days": month.days,
        "processes": {name: month.started.get(name, 0) for name in (*PROCESSES, COMMAND)},
        "strace": observed.calls is not None,
        "silence_due": expected.silent,
        "why": why,
    }


def _grouped(received: Iterable[CapturedRequest]) -> list[Json]:
    counts = Counter(request.data for request in received)
    return [
        {
            "head_sha256": hashlib.sha256(_head(data)).hexdigest(),
            "line": _head(data).partition(b"\r\n")[0][:_LINE_BYTES].decode("ascii", "replace"),
            "host": _host(_head(data)),
            "bytes": len(data),
            "count": count,
            "posted": data.decode("utf-8", "replace") if data.startswith(b"POST ") else None,
        }
        for data, count in sorted(counts.items())
    ]


def _head(data: bytes) -> bytes:
    head, end, _ = data.partition(b"\r\n\r\n")
    return head + end


def _host(head: bytes) -> str:
    lines = head.decode("ascii", "replace").split("\r\n")
    return next((line[6:] for line in lines if line.startswith("Host: ")), "")
