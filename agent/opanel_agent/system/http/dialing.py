"""Resolves a name and connects to one of its addresses: they race (RFC 8305), so that one that hangs delays nothing.

The system's resolver has no timeout that a caller could set; it runs in a thread that is left behind where it takes too long
(fetch and courier end soon after). Addresses are tried alternately by family, the next one 250 ms after the last or as soon
as that one has failed (RFC 8305 4 and 5). What became of each is in the trace.

Left out: racing A against AAAA queries, address sorting beyond the system's own (RFC 6724 is getaddrinfo's), DNS over HTTPS.
"""

import errno
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Unavailable
from opanel_agent.core.wire.steps import Attempt, Outcome, RequestTrace

STAGGER_S: Final = 0.25  # RFC 8305 5: "Connection Attempt Delay"
EVERY_ADDRESS_S: Final = 3.0  # how long a diagnosis waits for the other addresses once one has connected
MAX_ADDRESSES: Final = 16
MAX_NAMED: Final = 3
_OUTCOMES: Final = {errno.ECONNREFUSED: Outcome.REFUSED, errno.ETIMEDOUT: Outcome.SLOW}
# The name servers refused, failed or were not reachable; every other number says that there is no such name.
_FAILED: Final = frozenset({socket.EAI_AGAIN, socket.EAI_FAIL})


class Address(NamedTuple):
    """One address of a name. `sockaddr` is as the socket module takes it, for the family."""

    family: int
    sockaddr: tuple[str | int | bytes, ...]

    @property
    def text(self) -> str:
        """The address as a person writes it, without a port."""
        return str(self.sockaddr[0])

    @property
    def is_own(self) -> bool:
        """Whether it leads to this machine whatever it is called: what a filter in the name service answers, too."""
        return self.text.startswith("127.") or self.text in {"0.0.0.0", "::", "::1"}  # noqa: S104 - binds nothing


LookUp = Callable[[str, int], list[Address]]


def look_up(host: str, port: int) -> list[Address]:
    """Asks the system's resolver. Raises socket.gaierror, UnicodeError for a name that DNS cannot carry, OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]


def resolve(host: str, port: int, timeout_s: float, look_up: LookUp = look_up) -> list[Address]:
    """Returns the addresses of a host in the order in which they are to be tried, at most `MAX_ADDRESSES`.

    Raises Unavailable: `name_unknown`, `resolver_failed` where no name server could answer, `resolver_silent` where none
    answered in `timeout_s` seconds.
    """
    results: queue.SimpleQueue[list[Address] | Unavailable] = queue.SimpleQueue()
    try:
        threading.Thread(target=lambda: results.put(_found(look_up, host, port)), daemon=True).start()
        found = results.get(timeout=timeout_s)
    except (queue.Empty, RuntimeError):  # RuntimeError: those that hung before it have taken every task (TasksMax=)
        raise Unavailable(Reason.UNREACHABLE_DNS, "resolver_silent") from None
    if isinstance(found, Unavailable):
        raise found
    return _interleaved(found)[:MAX_ADDRESSES]


def _found(look_up: LookUp, host: str, port: int) -> list[Address] | Unavailable:
    try:
        return look_up(host, port)
    except socket.gaierror as exc:
        return Unavailable(Reason.UNREACHABLE_DNS, "resolver_failed" if exc.errno in _FAILED else "name_unknown")
    except (UnicodeError, OSError):
        return Unavailable(Reason.UNREACHABLE_DNS, "name_unknown")


def _interleaved(found: Sequence[Address]) -> list[Address]:
    """Returns the addresses alternately by family, beginning with the resolver's first; each once."""
    unique = list(dict.fromkeys(found))
    first = [each for each in unique if each.family == unique[0].family]
    other = [each for each in unique if each.family != unique[0].family]
    ordered: list[Address] = []
    while first or other:
        for family in (first, other):
            ordered += [family.pop(0)] if family else []
    return ordered


def connect(addresses: Sequence[Address], timeout_s: float, trace: RequestTrace) -> socket.socket:
    """Returns a connected socket to the address that answers first.

    Raises Unavailable where none does in `timeout_s` seconds: `connect_slow` with the addresses that gave no answer, else
    `connect_failed` with those that refused.
    """
    race = _Race(addresses, timeout_s, every=trace.every_address)
    try:
        winner = race.run()
    finally:
        race.close()
        trace.attempts += race.attempts()
    if winner is None:
        raise _not_connected(race.attempts())
    return winner


def _not_connected(attempts: Sequence[Attempt]) -> Unavailable:
    slow = [each.address for each in attempts if each.outcome is Outcome.SLOW]
    if slow:
        return Unavailable(Reason.UNREACHABLE_TCP, "connect_slow", address=_named(slow))
    return Unavailable(Reason.UNREACHABLE_TCP, "connect_failed", address=_named([each.address for each in attempts]))


def _named(addresses: Sequence[str]) -> str:
    more = len(addresses) - MAX_NAMED
    return ", ".join(addresses[:MAX_NAMED]) + (f" +{more}" if more > 0 else "")


class _Race:
    """Attempts to connect to several addresses at the same time."""

    def __init__(self, addresses: Sequence[Address], timeout_s: float, *, every: bool) -> None:
        self._waiting = list(addresses)
        self._outcomes: dict[str, Outcome] = {}
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[socket.socket, str] = {}
        self._winner: socket.socket | None = None
        self._every = every
        self._ends_at = time.monotonic() + timeout_s
        self._next_at = 0.0
        # So that each of many has its turn within a short time, and half of that time to answer.
        self._stagger_s = min(STAGGER_S, timeout_s / (2 * max(1, len(addresses))))

    def run(self) -> socket.socket | None:
        while (self._waiting or self._sockets) and not (self._winner and not self._every):
            now = time.monotonic()
            if now >= self._ends_at:
                break
            if self._waiting and (now >= self._next_at or not self._sockets):
                self._begin(self._waiting.pop(0), now)
                continue
            wakes_at = min(self._ends_at, self._next_at) if self._waiting else self._ends_at
            for key, _ in self._selector.select(max(0.0, wakes_at - now)):
                self._end(key.fileobj)  # type: ignore[arg-type]
        return self._winner

    def attempts(self) -> list[Attempt]:
        return [Attempt(address=address, outcome=outcome) for address, outcome in self._outcomes.items()]

    def close(self) -> None:
        """Closes what has not connected, and says what became of it."""
        undecided = Outcome.UNDECIDED if self._winner and not self._every else Outcome.SLOW
        for open_, address in self._sockets.items():
            self._outcomes[address] = undecided
            open_.close()
        for waiting in self._waiting:
            self._outcomes[waiting.text] = Outcome.UNDECIDED
        self._selector.close()

    def _begin(self, address: Address, now: float) -> None:
        self._outcomes[address.text] = Outcome.UNDECIDED  # keeps the order in which they were tried
        self._next_at = now + self._stagger_s
        try:
            attempt = socket.socket(address.family, socket.SOCK_STREAM)
        except OSError as exc:  # this kernel does not have the family
            self._fail(address.text, exc.errno or 0)
            return
        attempt.settimeout(0)
        code = attempt.connect_ex(address.sockaddr)
        self._sockets[attempt] = address.text
        if code == errno.EINPROGRESS:
            self._selector.register(attempt, selectors.EVENT_WRITE)
        else:
            self._decide(attempt, code)

    def _end(self, attempt: socket.socket) -> None:
        self._selector.unregister(attempt)
        self._decide(attempt, attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _decide(self, attempt: socket.socket, code: int) -> None:
        address = self._sockets.pop(attempt)
        if code != 0:
            attempt.close()
            self._fail(address, code)
            return
        self._outcomes[address] = Outcome.CONNECTED
        if self._winner is not None:
            attempt.close()
            return
        attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._winner = attempt
        self._next_at = 0.0
        self._ends_at = min(self._ends_at, time.monotonic() + EVERY_ADDRESS_S)

    def _fail(self, address: str, code: int) -> None:
        self._outcomes[address] = _OUTCOMES.get(code, Outcome.UNREACHABLE)
        self._next_at = 0.0  # the next one at once
