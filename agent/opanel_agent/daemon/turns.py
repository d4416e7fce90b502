"""Shares the daemon's time between uids: each that wants something gets one request served, then the next uid.

A panel's workers share one uid, so a number of requests or connections says nothing about who is rude. Nobody is
refused for either; whoever asks for much waits for its own turns, and a uid that asks for little never waits for more
than one request of each other uid.
"""

from collections import deque
from typing import Generic, TypeVar

SEEN_S = 10.0  # a uid counts as present for so long after its last connection

Client = TypeVar("Client")


class UidTurns(Generic[Client]):
    """Holds the connections of one uid: all of them, and those that can be served now."""

    __slots__ = ("clients", "ready", "seen_s", "uid")

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.clients: dict[Client, None] = {}  # the one that was served longest ago first
        self.ready: deque[Client] = deque()
        self.seen_s = 0.0


class Turns(Generic[Client]):
    """Decides whose connection is served next, and whose is ended where there is no room for another."""

    def __init__(self) -> None:
        self._uids: dict[int, UidTurns[Client]] = {}
        self._waiting: deque[UidTurns[Client]] = deque()  # uids with a connection that can be served, the next first

    def __len__(self) -> int:
        return sum(len(turns.clients) for turns in self._uids.values())

    @property
    def present(self) -> int:
        """Returns how many uids are or were connected lately."""
        return len(self._uids)

    def __bool__(self) -> bool:
        """Tells whether anybody can be served."""
        return bool(self._waiting)

    def add(self, uid: int, client: Client, now_s: float) -> UidTurns[Client]:
        """Takes in a connection."""
        turns = self._uids.get(uid)
        if turns is None:
            turns = self._uids[uid] = UidTurns(uid)
        turns.seen_s = now_s
        turns.clients[client] = None
        return turns

    def remove(self, turns: UidTurns[Client], client: Client) -> None:
        """Forgets a connection. One that stands in line stays there, and is no longer in `clients`."""
        turns.clients.pop(client, None)

    def enqueue(self, turns: UidTurns[Client], client: Client) -> None:
        """Puts a connection into its uid's line; the caller sees to it that it stands there once."""
        if not turns.ready:
            self._waiting.append(turns)
        turns.ready.append(client)

    def next(self) -> Client | None:
        """Returns the connection to serve now, of the uid whose turn it is; None where nobody waits, or it has gone."""
        if not self._waiting:
            return None
        turns = self._waiting.popleft()
        client = turns.ready.popleft()
        if turns.ready:
            self._waiting.append(turns)
        if client not in turns.clients:
            return None
        del turns.clients[client]
        turns.clients[client] = None
        return client

    def heaviest(self, *, spared: frozenset[int]) -> UidTurns[Client] | None:
        """Returns the uid with most connections, none of the spared ones."""
        found = [turns for turns in self._uids.values() if turns.uid not in spared and turns.clients]
        return max(found, key=lambda turns: len(turns.clients), default=None)

    def forget_absent(self, now_s: float) -> None:
        """Forgets uids that have no connection and were not seen for `SEEN_S`."""
        for turns in [turns for turns in self._uids.values() if not turns.clients and not turns.ready]:
            if now_s - turns.seen_s > SEEN_S:
                del self._uids[turns.uid]
