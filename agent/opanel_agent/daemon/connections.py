"""Serves the sockets of the local API: accepts, moves bytes, keeps time. `connection` speaks the protocol.

Who a peer is, the kernel says at accept (SO_PEERCRED), and it stays so for the connection. Nobody is refused for the
number of requests or connections: time is shared by turns between uids (`turns`). There are as many connections as
there are descriptors; when those run out, the uid that holds most loses the connection that was used longest ago, and
the owner loses none.

A connection is served as soon as it is accepted, because its request has mostly come by then, and the selector hears
of it only if it stays. So a client that asks and leaves costs five system calls, and one that only connects and leaves
costs three. While a single uid asks, one connection is taken from the kernel's queue for each request that is served:
what is left there outlives the daemon, and new connections get their turn beside kept ones. While several do, many are
taken at once, so that none of them waits behind another's.

A client that has left without a word is ended at once, without a turn: who only connects and leaves costs little, and
nothing of it stays. Readiness is edge-triggered (epoll(7)): `readable` stays set until a read finds less than it asked
for. The epoll's own descriptor stands in the loop's selector for all connections. Every call here returns at once.
"""

import errno
import math
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from selectors import EVENT_READ, BaseSelector
from typing import Final, NamedTuple

from opanel_agent.daemon.api import Response, problem
from opanel_agent.daemon.connection import Connection, Phase, RequestHandler, Timeouts
from opanel_agent.daemon.http_cache import HttpCache
from opanel_agent.daemon.listener import Accepted, ListeningSocket
from opanel_agent.daemon.turns import Turns, UidTurns

_UCRED: Final = struct.Struct("3i")
_RECEIVE_BYTES: Final = 8 * 1024
_SERVED_MAX: Final = 64  # requests in one call of `turn`: the loop has other work too
_ACCEPTED_MAX: Final = 32  # connections taken between two requests: at 10 to 20 µs each, silent ones and gone ones too
_ENDED_MAX: Final = 32  # connections ended between two requests whose clients have left: at 10 µs each
_EVENTS_MAX: Final = 4096  # of epoll at once: all that there may be, so that nobody's is behind a crowd that leaves
_ACCEPTED_AHEAD: Final = 32  # of these, such as wait to be served
_NO_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ROOT: Final = 0
_PAUSE_S: Final = 0.1  # without accepting, where the kernel has no room and nobody can be ended
_SWEEP_S: Final = 0.05  # at least so long between two looks for overdue connections
_END: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_EVENTS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET


class ConnectionLimits(NamedTuple):
    """Says how many connections there may be at once."""

    at_once: int = 960


class ClientSocket:
    """Holds one accepted socket and its protocol state."""

    __slots__ = ("ended", "events", "http", "queued", "readable", "socket", "turns")

    def __init__(self, accepted: Accepted, http: Connection) -> None:
        self.socket = accepted
        self.http = http
        self.turns: UidTurns[ClientSocket]
        self.readable = True
        self.ended = False  # the client sends no more: what comes last is the end
        self.queued = False  # stands in its uid's line
        self.events = 0  # what epoll watches it for


class ClientSockets:
    """Holds the open connections. The handler decides what they get."""

    def __init__(
        self,
        selector: BaseSelector,
        listeners: Sequence[ListeningSocket],
        handler: RequestHandler,
        *,
        connection_limits: ConnectionLimits,
        timeouts: Timeouts,
    ) -> None:
        self._handler = handler
        self._limits = connection_limits
        self._timeouts = timeouts
        self._cache = HttpCache()
        self._turns: Turns[ClientSocket] = Turns()
        self._open: dict[Connection, ClientSocket] = {}
        self._by_descriptor: dict[int, ClientSocket] = {}  # those that epoll watches
        self._leaving: deque[ClientSocket] = deque()  # whose clients have left, and seem to have asked nothing
        self._listeners: dict[int, ListeningSocket] = {}
        self._waited_on: set[int] = set()  # listeners that somebody waits at
        self._accept_s = -math.inf  # when accepting goes on; infinity after the end
        self._due_s = math.inf  # the next deadline of a connection, or earlier
        self._swept_s = -math.inf
        self._closing = False
        self._epoll = select.epoll()
        selector.register(self._epoll, EVENT_READ, _nothing)  # `turn` asks it, whatever woke the loop
        for listener in listeners:
            self.listen(listener)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def unanswered(self) -> bool:
        """Tells whether a client was taken in and had no answer yet: to end it is to fail its request."""
        return any(not connection.answered for connection in self._open)

    def listen(self, listener: ListeningSocket) -> None:
        """Accepts from one more listening socket."""
        self._listeners[listener.fileno()] = listener
        self._epoll.register(listener, select.EPOLLIN)

    def retire(self, listener: ListeningSocket, now_s: float) -> None:
        """Takes in whoever waits at a listening socket that nobody can reach any more, and closes it."""
        del self._listeners[listener.fileno()]
        self._waited_on.discard(listener.fileno())
        try:
            while True:
                self._admit(listener.accept_client(), now_s)
        except OSError:  # nobody waits
            listener.close()

    def due_s(self) -> float:
        """Returns when `turn` has something to do: -infinity for now."""
        if self._turns or self._leaving:
            return -math.inf
        paused_until_s = self._accept_s if self._accept_s > 0 else math.inf
        return min(max(self._due_s, self._swept_s + _SWEEP_S), paused_until_s)

    def turn(self, now_s: float) -> None:
        """Serves clients by turns, so many that the loop has time for the rest, and ends what is overdue."""
        self._resume(now_s)
        for _ in range(_SERVED_MAX):
            self._poll(now_s)
            self._end_left(now_s)
            client = self._turns.next()
            if client is not None:
                client.queued = False
                self._serve(client, now_s)
            elif not self._leaving and not self._waited_on:
                break
        if max(self._due_s, self._swept_s + _SWEEP_S) <= now_s:
            self._sweep(now_s)

    def answer(self, connection: Connection, response: Response, now_s: float) -> None:
        """Gives a connection the response that it waited for; nothing where it is gone."""
        client = self._open.get(connection)
        if client is not None and connection.phase is Phase.WAITING:
            connection.answer(response, now_s)
            self._settle(client, now_s)

    def finish(self) -> None:
        """Announces with every response from now on that it is the connection's last."""
        self._closing = True
        for connection in self._open:
            connection.closing = True

    def stop_accepting(self) -> None:
        """Leaves whoever connects in the kernel's queue, for the next daemon or for nobody."""
        self._accept_s = math.inf
        for descriptor in self._listeners:
            self._epoll.unregister(descriptor)
        self._listeners.clear()
        self._waited_on.clear()

    def close(self) -> None:
        """Ends every connection, whatever it waits for."""
        for client in tuple(self._open.values()):
            self._flush(client, 0.0)
            self._drop(client)
        self._epoll.close()

    # accepting

    def _poll(self, now_s: float) -> None:
        """Takes note of who is ready, and accepts whoever waits."""
        for descriptor, mask in self._epoll.poll(0, _EVENTS_MAX):
            client = self._by_descriptor.get(descriptor)
            if client is not None:
                client.readable = client.readable or bool(mask & ~select.EPOLLOUT)
                client.ended = client.ended or bool(mask & _END)
                if mask & select.EPOLLHUP and client.http.idle and not client.queued:
                    self._leaving.append(client)
                elif client.http.phase is not Phase.WAITING:
                    self._enqueue(client)
            elif descriptor in self._listeners:
                self._waited_on.add(descriptor)
        if self._waited_on and self._accept_s <= now_s:
            for descriptor in tuple(self._waited_on):
                self._accept(self._listeners[descriptor], now_s)

    def _end_left(self, now_s: float) -> None:
        """Ends connections whose clients have left; who asked something first gets its turn."""
        for _ in range(min(len(self._leaving), _ENDED_MAX)):
            client = self._leaving.popleft()
            if client.queued or client.http not in self._open:
                continue
            self._receive(client, now_s)
            if client.http.pending:
                self._enqueue(client)
            else:
                self._drop(client)

    def _accept(self, listener: ListeningSocket, now_s: float) -> None:
        ahead = _ACCEPTED_AHEAD if self._turns.present > 1 else 1
        waiting = 0
        for _ in range(_ACCEPTED_MAX):
            if waiting >= ahead:
                return
            try:
                accepted = listener.accept_client()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    continue  # whoever waited has left
                if not listener.waited_at():
                    break
                if not self._evict():
                    self._pause(now_s)
                    return
                continue
            waiting += self._admit(accepted, now_s)
        else:
            return
        self._waited_on.discard(listener.fileno())

    def _admit(self, accepted: Accepted, now_s: float) -> bool:
        """Takes in a client and what it has sent; returns False for one that has left already."""
        try:
            data = accepted.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        if data == b"":
            accepted.close()
            return False
        uid = _UCRED.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1]
        peer = self._handler.peer(uid)
        if len(self._open) >= self._limits.at_once and not self._evict() and not peer.owner:
            self._refuse(accepted)
            return False
        client = ClientSocket(accepted, Connection(peer, self._timeouts, now_s, self._cache))
        client.http.closing = self._closing
        client.turns = self._turns.add(uid, now_s)
        self._open[client.http] = client
        if data is None:
            client.readable = False
            self._keep(client)
            self._turns.rest(client.turns, client)
            return False
        client.readable = len(data) == _RECEIVE_BYTES
        client.http.receive(data, now_s)
        self._enqueue(client)
        return True

    def _evict(self) -> bool:
        """Ends the longest unused connection of the uid that holds most; returns False where each waits to be served.

        Root's are ended only where nobody else has any, and then only idle ones.
        """
        heaviest = self._turns.heaviest(spared=frozenset({_ROOT})) or self._turns.heaviest(spared=frozenset())
        for client in heaviest.resting if heaviest else ():
            if client.http.idle or client.turns.uid != _ROOT:
                self._drop(client)
                return True
        return False

    def _refuse(self, accepted: Accepted) -> None:
        """Tells a client that no descriptor is left; whoever was to be ended waits for a job or for its turn."""
        refused = self._cache.render(problem("connections_taken"), close=True, bodiless=False)
        try:  # noqa: SIM105 - contextlib is memory that stays
            accepted.send(refused, socket.MSG_DONTWAIT)
        except OSError:  # it has left, or does not listen
            pass
        accepted.close()

    def _pause(self, now_s: float) -> None:
        self._accept_s = now_s + _PAUSE_S
        for descriptor in self._listeners:
            self._epoll.modify(descriptor, 0)

    def _resume(self, now_s: float) -> None:
        if -math.inf < self._accept_s <= now_s:
            self._accept_s = -math.inf
            for descriptor in self._listeners:
                self._epoll.modify(descriptor, select.EPOLLIN)

    # serving

    def _serve(self, client: ClientSocket, now_s: float) -> None:
        """Writes what is left, takes one more request where all is written, and writes the response."""
        self._flush(client, now_s)
        again = client.http.step(self._handler, now_s)
        if not again and client.readable and client.http.reads:
            self._receive(client, now_s)
            again = client.http.step(self._handler, now_s)
        self._settle(client, now_s, again=again)

    def _settle(self, client: ClientSocket, now_s: float, *, again: bool = True) -> None:
        """Writes what there is to write, and looks at what the connection waits for next."""
        self._flush(client, now_s)
        http = client.http
        if http.phase is Phase.CLOSED and not http.out:
            self._drop(client)
            return
        self._keep(client)
        if http.reads and (client.readable or (again and http.pending)):
            self._enqueue(client)
        elif http.phase is not Phase.WAITING and not client.queued:
            self._turns.rest(client.turns, client)

    def _receive(self, client: ClientSocket, now_s: float) -> None:
        try:
            data = client.socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            client.readable = False
            return
        except OSError:  # the client has left
            client.http.out = b""
            client.http.close()
            return
        if not data or (len(data) < _RECEIVE_BYTES and not client.ended):
            client.readable = False
        client.http.receive(data, now_s)

    def _flush(self, client: ClientSocket, now_s: float) -> None:
        http = client.http
        try:
            while http.out:
                http.written(client.socket.send(http.out, socket.MSG_DONTWAIT), now_s)
            if http.phase is Phase.LINGER:
                client.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:  # the client has left
            http.out = b""
            http.close()

    def _enqueue(self, client: ClientSocket) -> None:
        if not client.queued:
            client.queued = True
            self._turns.enqueue(client.turns, client)

    def _keep(self, client: ClientSocket) -> None:
        """Has epoll watch a connection that stays, and counts its deadline."""
        self._due_s = min(self._due_s, client.http.deadline_s)
        events = _EVENTS | select.EPOLLOUT if client.http.out else _EVENTS
        if events == client.events:
            return
        descriptor = client.socket.fileno()
        if client.events:
            self._epoll.modify(descriptor, events)
        else:
            self._by_descriptor[descriptor] = client
            self._epoll.register(descriptor, events)
        client.events = events

    def _drop(self, client: ClientSocket) -> None:
        if client.events:
            del self._by_descriptor[client.socket.fileno()]  # closing takes it out of epoll
        del self._open[client.http]
        self._turns.remove(client.turns, client)
        client.socket.close()

    def _sweep(self, now_s: float) -> None:
        """Ends what is overdue, and works out the next deadline."""
        self._swept_s = now_s
        for client in [client for client in self._open.values() if client.http.deadline_s <= now_s]:
            if client.queued and not client.http.out:  # what it waits for is its turn
                continue
            if client.http.phase is Phase.WAITING:
                client.http.answer(self._handler.late(client.http, now_s), now_s)
            else:
                client.http.overdue(now_s)
            self._settle(client, now_s)
        self._due_s = min((connection.deadline_s for connection in self._open), default=math.inf)
        self._turns.forget_absent(now_s)


def _nothing(_mask: int, _now_s: float) -> None:
    """Stands for the clients in the loop's selector: `turn` serves them in every turn."""
