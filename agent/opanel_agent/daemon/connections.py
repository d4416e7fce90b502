"""The sockets of the local API: accepts within the limits, moves bytes, keeps time. `connection` knows the protocol.

Who a peer is, the kernel says at accept (SO_PEERCRED) and it stays so for the connection. The limits: so many
connections in all, so many a uid, and the last one only for the owner, so that nobody can keep root out. A connection
over a limit is told so and closed at once. Every uid but the owner has a share of the loop's time (`TokenBuckets`); who
has used it up is not listened to for some milliseconds, so that the others need not wait. Where the kernel has no
descriptor left for another connection, nobody is accepted for a moment: a loop that asked again at once would do
nothing else.

Every call here returns without waiting.
"""

import errno
import math
import socket
import struct
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from typing import NamedTuple

from opanel_agent.daemon.api import Peer, Response
from opanel_agent.daemon.connection import Connection, Phase, RequestHandler, Timeouts

_UCRED = struct.Struct("3i")
_RECEIVE_BYTES = 16 * 1024
_ACCEPTS = 16  # in one turn of the loop
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BREATH_S = 0.1  # without accepting, after one of these


class ConnectionLimits(NamedTuple):
    """How many connections there may be at once."""

    at_once: int = 16
    of_one_uid: int = 4
    kept_for_owner: int = 1

    def admits(self, uids: list[int], peer: Peer) -> bool:
        """`uids`: those of the open connections."""
        room = self.at_once - (0 if peer.owner else self.kept_for_owner)
        return len(uids) < room and uids.count(peer.uid) < self.of_one_uid


class TokenBucket(NamedTuple):
    """What one uid may take of the loop: so many turns at once, and so many more each second."""

    at_once: int = 200
    each_s: float = 2000.0


class TokenBuckets:
    """What each uid has taken of its token_bucket, as the time at which it will be whole again."""

    def __init__(self, token_bucket: TokenBucket) -> None:
        self._token_bucket = token_bucket
        self._whole_s: dict[int, float] = {}

    def take(self, peer: Peer, now_s: float) -> None:
        """One turn. The owner's are not counted."""
        if not peer.owner:
            self._whole_s = {uid: at_s for uid, at_s in self._whole_s.items() if at_s > now_s}
            self._whole_s[peer.uid] = self._whole_s.get(peer.uid, now_s) + 1 / self._token_bucket.each_s

    def due_s(self, peer: Peer) -> float:
        """When it may take the next one."""
        return self._whole_s.get(peer.uid, -math.inf) - self._token_bucket.at_once / self._token_bucket.each_s


class ClientSocket:
    """One accepted socket and its protocol state."""

    __slots__ = ("http", "mask", "socket")

    def __init__(self, accepted: socket.socket, http: Connection) -> None:
        self.socket = accepted
        self.http = http
        self.mask = 0  # what the selector watches it for


class ClientSockets:
    """The open connections. The handler decides what they get."""

    def __init__(
        self,
        selector: BaseSelector,
        listener: socket.socket,
        handler: RequestHandler,
        *,
        connection_limits: ConnectionLimits,
        token_bucket: TokenBucket,
        timeouts: Timeouts,
    ) -> None:
        self._selector = selector
        self._listener = listener
        self._handler = handler
        self._connection_limits = connection_limits
        self._timeouts = timeouts
        self._open: dict[Connection, ClientSocket] = {}
        self._shares = TokenBuckets(token_bucket)
        self._again: list[
            ClientSocket
        ] = []  # may have another request in the buffer, or have to wait for their token_bucket
        self._taken = _refusal(timeouts)
        self._accept_s = -math.inf  # when there may be room for another connection
        self._accepting = False
        self._accept_again(0.0)

    def due_s(self) -> float:
        """When `turn` has something to do."""
        again = (self._shares.due_s(client.http.peer) for client in self._again)
        deadlines = (known.deadline_s for known in self._open)
        return min(*again, *deadlines, math.inf, math.inf if self._accepting else self._accept_s)

    def turn(self, now_s: float) -> None:
        """Serves what was pipelined or had to wait, and ends what is overdue."""
        self._accept_again(now_s)
        again, self._again = self._again, []
        for client in again:
            if client.http not in self._open:
                continue
            if self._shares.due_s(client.http.peer) <= now_s:
                self._serve(client, now_s)
            else:
                self._again.append(client)
        for client in [known for known in self._open.values() if known.http.deadline_s <= now_s]:
            if client.http.phase is Phase.WAITING:
                client.http.answer(self._handler.late(client.http), now_s)
            else:
                client.http.overdue(now_s)
            self._serve(client, now_s)

    def answer(self, connection: Connection, response: Response, now_s: float) -> None:
        """The response that a connection waited for; nothing when it is gone."""
        client = self._open.get(connection)
        if client is not None and connection.phase is Phase.WAITING:
            connection.answer(response, now_s)
            self._serve(client, now_s)

    def stop_accepting(self) -> None:
        if self._accepting:
            self._pause(math.inf)
        self._accept_s = math.inf

    def close(self) -> None:
        """Ends every connection, whatever it waits for."""
        for client in tuple(self._open.values()):
            self._flush(client)
            self._drop(client)

    def _accept_again(self, now_s: float) -> None:
        if not self._accepting and self._accept_s <= now_s:
            self._selector.register(self._listener, EVENT_READ, self._accept)
            self._accepting = True

    def _accept(self, _mask: int, now_s: float) -> None:
        for _ in range(_ACCEPTS):
            try:
                accepted, _address = self._listener.accept()
            except OSError as error:  # nobody waits any more, or the one who did has left; or there is no room
                if error.errno in _NO_ROOM:
                    self._pause(now_s + _BREATH_S)
                return
            self._admit(accepted, now_s)

    def _pause(self, until_s: float) -> None:
        self._selector.unregister(self._listener)
        self._accepting, self._accept_s = False, until_s

    def _admit(self, accepted: socket.socket, now_s: float) -> None:
        """Takes it in, or tells it that there is no room."""
        peer = self._peer(accepted)
        if self._connection_limits.admits([known.peer.uid for known in self._open], peer):
            accepted.setblocking(False)  # noqa: FBT003 - the socket module's own signature
            client = ClientSocket(accepted, Connection(peer, self._timeouts, now_s))
            self._open[client.http] = client
            self._watch(client, now_s)
            return
        try:  # noqa: SIM105 - contextlib is memory that stays
            accepted.send(self._taken, socket.MSG_DONTWAIT)
        except OSError:  # it has left, or does not listen
            pass
        accepted.close()

    def _peer(self, accepted: socket.socket) -> Peer:
        _pid, uid, _gid = _UCRED.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return self._handler.peer(uid)

    def _serve(self, client: ClientSocket, now_s: float) -> None:
        """Writes, takes one more request when all is written, and looks again at what to wait for."""
        self._shares.take(client.http.peer, now_s)
        self._flush(client)
        if not client.http.out:
            if client.http.step(self._handler, now_s):
                self._again.append(client)
            self._flush(client)
        if client.http.phase is Phase.CLOSED and not client.http.out:
            self._drop(client)
        else:
            self._watch(client, now_s)

    def _ready(self, client: ClientSocket, mask: int, now_s: float) -> None:
        if client.http not in self._open:  # ended by what was ready before it in the same turn
            return
        if mask & EVENT_READ:
            try:
                client.http.receive(client.socket.recv(_RECEIVE_BYTES))
            except BlockingIOError:
                return
            except OSError:
                client.http.out.clear()
                client.http.close()
        self._serve(client, now_s)

    def _flush(self, client: ClientSocket) -> None:
        out = client.http.out
        try:
            while out:
                del out[: client.socket.send(out)]
            if client.http.phase is Phase.LINGER:
                client.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError:  # the client has left
            out.clear()
            client.http.close()

    def _watch(self, client: ClientSocket, now_s: float) -> None:
        if client not in self._again and self._shares.due_s(client.http.peer) > now_s:
            self._again.append(client)
        reading = client.http.phase in (Phase.READING, Phase.LINGER) and client not in self._again
        mask = EVENT_WRITE if client.http.out else EVENT_READ if reading else 0
        if mask == client.mask:
            return
        if client.mask:
            self._selector.unregister(client.socket)
        if mask:
            self._selector.register(client.socket, mask, lambda got, now_s: self._ready(client, got, now_s))
        client.mask = mask

    def _drop(self, client: ClientSocket) -> None:
        if client.mask:
            self._selector.unregister(client.socket)
        del self._open[client.http]
        client.socket.close()


def _refusal(timeouts: Timeouts) -> bytes:
    """What a connection over a limit is told. Made once: whoever asks for thousands gets it at the price of a `send`."""
    refused = Connection(Peer(uid=-1, owner=False), timeouts, 0.0)
    refused.refuse("connections_taken", 0.0)
    return bytes(refused.out)
