"""Whose connection is served next, and whose is ended: as values."""

from opanel_agent.daemon.turns import SEEN_S, Turns


def test_each_uid_has_one_request_and_then_the_next_uid() -> None:
    turns: Turns[str] = Turns()
    for uid, clients in ((1, ["a1", "a2", "a3", "a4"]), (2, ["b1"]), (3, ["c1", "c2"])):
        for client in clients:
            turns.enqueue(turns.add(uid, client, 0.0), client)
    assert [turns.next() for _ in range(7)] == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]
    assert not turns
    assert turns.next() is None


def test_whoever_comes_new_waits_for_one_request_of_each_other() -> None:
    turns: Turns[str] = Turns()
    greedy = [f"a{each}" for each in range(1000)]
    for client in greedy:
        turns.enqueue(turns.add(1, client, 0.0), client)
    turns.next()
    turns.enqueue(turns.add(2, "b", 0.0), "b")
    assert [turns.next(), turns.next()] == ["a1", "b"]


def test_one_that_has_gone_takes_no_turn() -> None:
    turns: Turns[str] = Turns()
    mine = turns.add(1, "gone", 0.0)
    turns.enqueue(mine, "gone")
    turns.remove(mine, "gone")
    turns.enqueue(turns.add(1, "here", 0.0), "here")
    assert [turns.next(), turns.next()] == [None, "here"]
    assert len(turns) == 1


def test_the_uid_that_holds_most_makes_room_by_what_was_used_longest_ago() -> None:
    turns: Turns[str] = Turns()
    for uid, client in ((0, "r1"), (0, "r2"), (0, "r3"), (1, "a1"), (1, "a2"), (2, "b1")):
        turns.enqueue(turns.add(uid, client, 0.0), client)
    heaviest = turns.heaviest(spared=frozenset({0}))
    assert heaviest is not None
    assert list(heaviest.clients) == ["a1", "a2"]
    while turns.next() != "a1":
        pass
    assert list(heaviest.clients) == ["a2", "a1"]
    assert turns.heaviest(spared=frozenset({0, 1, 2})) is None


def test_a_uid_is_present_for_a_while_after_it_left() -> None:
    turns: Turns[str] = Turns()
    for uid in (1, 2):
        turns.add(uid, "x", 100.0)
    turns.remove(turns.add(2, "x", 100.0), "x")
    turns.forget_absent(100.0 + SEEN_S)
    assert turns.present == 2
    turns.forget_absent(101.0 + SEEN_S)
    assert turns.present == 1
