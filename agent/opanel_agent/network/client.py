"""Asks the two processes that may reach the network, on behalf of evaluate and `doctor`.

Under systemd it connects to their sockets, and each connection starts one. Elsewhere (containers, the demo) it starts the
same program in a process group of its own, over a socketpair; `status` then says `isolation: none`. A reply belongs to
the connection that brought it. A connection that closes without a whole frame was refused by systemd where a signal
explains it, and is a fault of ours where none does; it never says anything about the network.
"""

import time
from typing import Final, Protocol

from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Bug, NotPermitted, Untrusted
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_agent.system.storage.paths import Paths

DEADLINE_S: Final = 60


class NetworkClient(Protocol):
    """Asks fetch and courier. Tests replace it."""

    @property
    def isolated(self) -> bool:
        """True where systemd starts fetch and courier as a user of their own."""
        ...

    def fetch(self, word: str, *, signalled: bool) -> Reply:
        """Makes one of the fixed GETs. `signalled`: an opt-out is in force that explains a refusal."""
        ...

    def courier(self, sealed: Sealed, *, signalled: bool) -> Reply:
        """Sends one sealed request, at most once."""
        ...


class NetworkProbe(Protocol):
    """What `doctor` asks of the same two processes."""

    @property
    def isolated(self) -> bool:
        """As `NetworkClient` says."""
        ...

    def fetch(self, word: str, *, signalled: bool) -> Reply:
        """Makes one, as `NetworkClient` says."""
        ...

    def ping(self, program: str, *, signalled: bool) -> Reply:
        """Asks `fetch` or `courier` an empty question, which each refuses before it looks at the network.

        Is anybody there?
        """
        ...


class LocalNetworkClient:
    """By socket where it exists, else by starting the program."""

    def __init__(self, paths: Paths, *, deadline_s: float = DEADLINE_S, quiet: bool = False) -> None:
        """Takes `quiet`, under which what is started here logs nothing.

        Else a person would read it between a command's own lines.
        """
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
        """Tells whether a socket is there, of each for itself.

        That one is missing is no reason to start the other without its cage.
        """
        return self._system and self._sockets[program].is_socket()

    def _ask(self, program: str, question: bytes, *, signalled: bool) -> Reply:
        from opanel_agent.network import channel  # sockets and processes: most passes ask nobody

        if self._by_socket(program):
            opened = channel.connect(self._sockets[program], timeout_s=DEADLINE_S)
        else:
            opened = channel.start(program, system=self._system, quiet=self._quiet)
        try:
            with opened as connection:
                frame = channel.exchange(connection, question, time.monotonic() + self._deadline_s)
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
