"""Asks the two processes that may reach the network, on behalf of evaluate and `doctor`.

Under systemd it connects to their sockets, and each connection starts one. Elsewhere (containers, the demo) it starts the
same program in a process group of its own, over a socketpair; `status` then says `isolation: none`. A reply belongs to
the connection that brought it. A connection that closes without a whole frame was refused by systemd where a signal
explains it, and is a fault of ours where none does; it never says anything about the network.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import MAX_REPLY_BYTES
from opanel_agent.core.errors import Bug, NotPermitted, Untrusted
from opanel_agent.core.wire.message import MAX_LINE_BYTES, Reply, Sealed
from opanel_agent.system import environment, process
from opanel_agent.system.process import KernelLimits, Streams
from opanel_agent.system.storage.paths import Paths

DEADLINE_S: Final = 60
_MAX_FRAME_BYTES: Final = MAX_LINE_BYTES + 1 + MAX_REPLY_BYTES


class NetworkClient(Protocol):
    """Asks fetch and courier. Tests replace it."""

    @property
    def isolated(self) -> bool:
        """True where systemd starts fetch and courier as a user of their own."""
        ...

    def fetch(self, word: str, *, signalled: bool) -> Reply:
        """One of the fixed GETs. `signalled`: an opt-out is in force that explains a refusal."""
        ...

    def courier(self, sealed: Sealed, *, signalled: bool) -> Reply:
        """One sealed request, sent at most once."""
        ...


class NetworkProbe(Protocol):
    """What `doctor` asks of the same two processes."""

    @property
    def isolated(self) -> bool:
        """As an Outlet's."""
        ...

    def fetch(self, word: str, *, signalled: bool) -> Reply:
        """As an Outlet's."""
        ...

    def ping(self, program: str, *, signalled: bool) -> Reply:
        """An empty question to `fetch` or `courier`, which each refuses before it looks at the network: is anybody there?"""
        ...


class LocalNetworkClient:
    """By socket where it exists, else by starting the program."""

    def __init__(self, paths: Paths, *, deadline_s: float = DEADLINE_S, quiet: bool = False) -> None:
        """`quiet`: what it starts itself logs nothing, because a person would read it between a command's own lines."""
        self._sockets = {"fetch": paths.fetch_socket, "courier": paths.courier_socket}
        self._system = paths.system
        self._deadline_s = deadline_s
        self._quiet = quiet

    @property
    def isolated(self) -> bool:
        """Returns whether both of systemd's sockets exist."""
        return all(self._by_socket(program) for program in self._sockets)

    def fetch(self, word: str, *, signalled: bool) -> Reply:
        """Asks fetch for one fixed GET, as `NetworkClient.fetch` says."""
        return self._ask("fetch", word.encode("ascii") + b"\n", signalled=signalled)

    def courier(self, sealed: Sealed, *, signalled: bool) -> Reply:
        """Has the courier send one request, as `NetworkClient.courier` says."""
        return self._ask("courier", sealed.encode(), signalled=signalled)

    def ping(self, program: str, *, signalled: bool) -> Reply:
        """Asks one of them nothing, as `NetworkProbe.ping` says."""
        return self._ask(program, b"", signalled=signalled)

    def _by_socket(self, program: str) -> bool:
        """Each for itself: that one is missing is no reason to start the other without its cage."""
        return self._system and self._sockets[program].is_socket()

    def _ask(self, program: str, question: bytes, *, signalled: bool) -> Reply:
        if self._by_socket(program):
            opened = _connected(self._sockets[program])
        else:
            opened = _started(program, system=self._system, quiet=self._quiet)
        try:
            with opened as connection:
                frame = _exchange(connection, question, time.monotonic() + self._deadline_s)
        except TimeoutError as late:
            raise Bug(Reason.INTERNAL, "outlet_timeout", program=program) from late
        except OSError as broken:
            raise _unanswered(program, signalled=signalled) from broken
        if not frame:
            raise _unanswered(program, signalled=signalled)
        try:
            return Reply.decode(frame)
        except Untrusted as cut:
            raise Bug(Reason.INTERNAL, "outlet_frame", program=program, rule=cut.detail) from cut


def _unanswered(program: str, *, signalled: bool) -> NotPermitted | Bug:
    if signalled:
        return NotPermitted(Reason.NOT_PERMITTED, "outlet_refused", program=program)
    return Bug(Reason.INTERNAL, "outlet_silent", program=program)


def _exchange(connection: socket.socket, question: bytes, deadline: float) -> bytes:
    """The question, its end, and everything up to the answer's end. Raises OSError, TimeoutError among it."""
    connection.settimeout(_left(deadline))
    connection.sendall(question)
    connection.shutdown(socket.SHUT_WR)
    parts: list[bytes] = []
    size = 0
    while True:
        connection.settimeout(_left(deadline))
        part = connection.recv(65536)
        size += len(part)
        if not part or size > _MAX_FRAME_BYTES:
            return b"".join(parts) if size <= _MAX_FRAME_BYTES else b"\n"
        parts.append(part)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(DEADLINE_S)
        connection.connect(str(path))
        yield connection


@contextmanager
def _started(program: str, *, system: bool, quiet: bool) -> Iterator[socket.socket]:
    """Starts a program that speaks over a socketpair; in the caller's session, so that ending the job ends it as well."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs, open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is wanted
            pid = process.start(
                [sys.executable, "-I", "-m", "opanel_agent", program],
                environment.select(os.environ, user_folders=not system),
                Streams(theirs.fileno(), theirs.fileno(), nowhere.fileno() if quiet else None),
                limits=KernelLimits(),
                new_session=False,
            )
        try:
            yield ours
        finally:
            process.end_group(pid)
