"""Shares the daemon's time between uids: each that wants something gets one request served, then the next uid.

A panel's workers share one uid, so a number of requests or connections says nothing about who is rude. Nobody is
refused for either; whoever asks for much waits for its own turns, and a uid that asks for little never waits for more
than one request of each other uid. Every step costs the same however many connections there are.
"""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

SEEN_S = 10.0  # a uid counts as present for so long after its last connection

Client = TypeVar("Client")


class UidTurns(Generic[Client]):
    """Counts the connections of one uid, and holds those that can be served now and those that nothing is to be done for.

    What is in neither waits for a job. `OrderedDict` finds its first entry at once where a dict walks over deleted ones.
    """

    __slots__ = ("count", "in_line", "ready", "resting", "seen_s", "uid")

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.count = 0
        self.in_line = False  # stands among the uids that wait for their turn
        self.ready: OrderedDict[Client, None] = OrderedDict()  # the next to be served first
        self.resting: OrderedDict[Client, None] = OrderedDict()  # the one that was used longest ago first
        self.seen_s = 0.0


class Turns(Generic[Client]):
    """Decides whose connection is served next, and whose is ended where there is no room for another."""

    def __init__(self) -> None:
        self._uids: dict[int, UidTurns[Client]] = {}
        self._waiting: deque[UidTurns[Client]] = deque()  # uids with a connection that can be served, the next first

    def __len__(self) -> int:
        return sum(turns.count for turns in self._uids.values())

    @property
    def present(self) -> int:
        """Returns how many uids are or were connected lately."""
        return len(self._uids)

    def __bool__(self) -> bool:
        """Tells whether anybody can be served."""
        return bool(self._waiting)

    def add(self, uid: int, now_s: float) -> UidTurns[Client]:
        """Counts one more connection."""
        turns = self._uids.get(uid)
        if turns is None:
            turns = self._uids[uid] = UidTurns(uid)
        turns.seen_s = now_s
        turns.count += 1
        return turns

    def remove(self, turns: UidTurns[Client], client: Client) -> None:
        """Forgets a connection, wherever it stands."""
        turns.count -= 1
        turns.ready.pop(client, None)
        turns.resting.pop(client, None)

    def enqueue(self, turns: UidTurns[Client], client: Client) -> None:
        """Puts a connection into its uid's line, where it stands once."""
        turns.resting.pop(client, None)
        turns.ready[client] = None
        if not turns.in_line:
            turns.in_line = True
            self._waiting.append(turns)

    def rest(self, turns: UidTurns[Client], client: Client) -> None:
        """Notes that a connection was used just now, and that nothing is to be done for it until it says more."""
        turns.resting[client] = None
        turns.resting.move_to_end(client)

    def next(self) -> Client | None:
        """Returns the connection to serve now, of the uid whose turn it is; None where nobody waits, or all have gone."""
        while self._waiting:
            turns = self._waiting.popleft()
            if turns.ready:
                client, _ = turns.ready.popitem(last=False)
                turns.in_line = bool(turns.ready)
                if turns.in_line:
                    self._waiting.append(turns)
                return client
            turns.in_line = False
        return None

    def heaviest(self, *, spared: frozenset[int]) -> UidTurns[Client] | None:
        """Returns the uid with most connections, none of the spared ones."""
        found = [turns for turns in self._uids.values() if turns.uid not in spared and turns.count]
        return max(found, key=lambda turns: turns.count, default=None)

    def forget_absent(self, now_s: float) -> None:
        """Forgets uids that have no connection and were not seen for `SEEN_S`."""
        for turns in [turns for turns in self._uids.values() if not turns.count]:
            if now_s - turns.seen_s > SEEN_S:
                del self._uids[turns.uid]
