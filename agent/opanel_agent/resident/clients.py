"""The sockets of the local API: accepts within the limits, moves bytes, keeps time. `connection` knows the protocol.

Who a peer is, the kernel says at accept (SO_PEERCRED) and it stays so for the connection. The limits: so many
connections in all, so many a uid, and the last one only for the owner, so that nobody can keep root out. A connection
over a limit is told so and closed at once. Every call here returns without waiting.
"""

import math
import socket
import struct
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector
from typing import NamedTuple

from opanel_agent.resident.api import Peer, Response
from opanel_agent.resident.connection import Connection, Desk, Patience, Phase

_UCRED = struct.Struct("3i")
_RECEIVE_BYTES = 16 * 1024
_ACCEPTS = 16  # in one turn of the loop


class Crowd(NamedTuple):
    """How many connections there may be at once."""

    at_once: int = 16
    of_one_uid: int = 4
    kept_for_owner: int = 1

    def admits(self, uids: list[int], peer: Peer) -> bool:
        """`uids`: those of the open connections."""
        room = self.at_once - (0 if peer.owner else self.kept_for_owner)
        return len(uids) < room and uids.count(peer.uid) < self.of_one_uid


class Client:
    """One accepted socket and its protocol state."""

    __slots__ = ("http", "mask", "socket")

    def __init__(self, accepted: socket.socket, http: Connection) -> None:
        self.socket = accepted
        self.http = http
        self.mask = 0  # what the selector watches it for


class Clients:
    """The open connections. The desk decides what they get."""

    def __init__(
        self,
        selector: BaseSelector,
        listener: socket.socket,
        desk: Desk,
        *,
        crowd: Crowd,
        patience: Patience,
    ) -> None:
        self._selector = selector
        self._listener = listener
        self._desk = desk
        self._crowd = crowd
        self._patience = patience
        self._open: dict[Connection, Client] = {}
        self._again: list[Client] = []  # may have another request in the buffer
        selector.register(listener, EVENT_READ, self._accept)

    def due_s(self) -> float:
        """When `turn` has something to do."""
        return 0.0 if self._again else min((known.deadline_s for known in self._open), default=math.inf)

    def turn(self, now_s: float) -> None:
        """Serves what was pipelined and ends what is overdue."""
        again, self._again = self._again, []
        for client in again:
            if client.http in self._open:
                self._serve(client, now_s)
        for client in [known for known in self._open.values() if known.http.deadline_s <= now_s]:
            if client.http.phase is Phase.WAITING:
                client.http.answer(self._desk.late(client.http), now_s)
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
        self._selector.unregister(self._listener)

    def close(self) -> None:
        """Ends every connection, whatever it waits for."""
        for client in tuple(self._open.values()):
            self._flush(client)
            self._drop(client)

    def _accept(self, _mask: int, now_s: float) -> None:
        for _ in range(_ACCEPTS):
            try:
                accepted, _address = self._listener.accept()
            except OSError:  # nobody waits any more, or the one who did has left
                return
            accepted.setblocking(False)  # noqa: FBT003 - the socket module's own signature
            self._admit(Client(accepted, Connection(self._peer(accepted), self._patience, now_s)), now_s)

    def _admit(self, client: Client, now_s: float) -> None:
        if self._crowd.admits([known.peer.uid for known in self._open], client.http.peer):
            self._open[client.http] = client
            self._watch(client)
        else:
            client.http.refuse("connections_taken", now_s)
            self._flush(client)
            client.socket.close()

    def _peer(self, accepted: socket.socket) -> Peer:
        _pid, uid, _gid = _UCRED.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return self._desk.peer(uid)

    def _serve(self, client: Client, now_s: float) -> None:
        """Writes, takes one more request when all is written, and looks again at what to wait for."""
        self._flush(client)
        if not client.http.out:
            if client.http.step(self._desk, now_s):
                self._again.append(client)
            self._flush(client)
        if client.http.phase is Phase.CLOSED and not client.http.out:
            self._drop(client)
        else:
            self._watch(client)

    def _ready(self, client: Client, mask: int, now_s: float) -> None:
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

    def _flush(self, client: Client) -> None:
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

    def _watch(self, client: Client) -> None:
        reading = client.http.phase in (Phase.READING, Phase.LINGER) and client not in self._again
        mask = EVENT_WRITE if client.http.out else EVENT_READ if reading else 0
        if mask == client.mask:
            return
        if client.mask:
            self._selector.unregister(client.socket)
        if mask:
            self._selector.register(client.socket, mask, lambda got, now_s: self._ready(client, got, now_s))
        client.mask = mask

    def _drop(self, client: Client) -> None:
        if client.mask:
            self._selector.unregister(client.socket)
        del self._open[client.http]
        client.socket.close()
