"""Whose connection is served next, and whose is ended: as values."""

from opanel_agent.daemon.turns import SEEN_S, Turns, UidTurns


def put(turns: Turns[str], uid: int, *clients: str) -> UidTurns[str]:
    """New connections that can be served."""
    for client in clients:
        mine = turns.add(uid, 0.0)
        turns.enqueue(mine, client)
    return mine


def test_each_uid_has_one_request_and_then_the_next_uid() -> None:
    turns: Turns[str] = Turns()
    for uid, clients in ((1, ["a1", "a2", "a3", "a4"]), (2, ["b1"]), (3, ["c1", "c2"])):
        put(turns, uid, *clients)
    assert [turns.next() for _ in range(7)] == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]
    assert not turns
    assert turns.next() is None


def test_whoever_comes_new_waits_for_one_request_of_each_other() -> None:
    turns: Turns[str] = Turns()
    put(turns, 1, *(f"a{each}" for each in range(1000)))
    turns.next()
    put(turns, 2, "b")
    assert [turns.next(), turns.next()] == ["a1", "b"]


def test_whoever_asks_for_more_stands_in_line_once() -> None:
    turns: Turns[str] = Turns()
    mine = put(turns, 1, "a1", "a2")
    turns.enqueue(mine, "a1")
    assert [turns.next(), turns.next(), turns.next()] == ["a1", "a2", None]


def test_one_that_has_gone_takes_no_turn_and_leaves_nothing() -> None:
    turns: Turns[str] = Turns()
    mine = put(turns, 1, "gone", "gone too")
    turns.remove(mine, "gone")
    turns.remove(mine, "gone too")
    assert not [*mine.ready, *mine.resting]
    put(turns, 2, "other")
    put(turns, 1, "here")
    assert [turns.next(), turns.next(), turns.next()] == ["here", "other", None]
    assert len(turns) == 2


def test_the_uid_that_holds_most_makes_room_by_what_was_used_longest_ago() -> None:
    turns: Turns[str] = Turns()
    for uid, clients in ((0, ("r1", "r2", "r3")), (1, ("a1", "a2", "a3")), (2, ("b1",))):
        put(turns, uid, *clients)
    heaviest = turns.heaviest(spared=frozenset({0}))
    assert heaviest is not None
    assert (heaviest.uid, [*heaviest.resting]) == (1, [])  # who stands in line is not ended
    for client in iter(turns.next, None):
        if client.startswith("a"):
            turns.rest(heaviest, client)
    assert [*heaviest.resting] == ["a1", "a2", "a3"]
    turns.rest(heaviest, "a1")
    turns.enqueue(heaviest, "a2")
    assert [*heaviest.resting] == ["a3", "a1"]
    assert turns.heaviest(spared=frozenset({0, 1, 2})) is None


def test_a_uid_is_present_for_a_while_after_it_left() -> None:
    turns: Turns[str] = Turns()
    for uid in (1, 2):
        turns.add(uid, 100.0)
    turns.remove(turns.add(2, 100.0), "x")  # of two, one stays
    turns.remove(turns.add(3, 100.0), "y")
    turns.forget_absent(100.0 + SEEN_S)
    assert turns.present == 3
    turns.forget_absent(101.0 + SEEN_S)
    assert turns.present == 2
