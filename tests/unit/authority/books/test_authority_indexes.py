"""The order in which status entries are given: every entry of a range once, in an order that only the key tells."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opanel_authority.books.status_allocation import Pool

KEY = bytes(range(32))


def order(key: bytes, start: int, end: int) -> list[int]:
    pool = Pool(key=key, start=start, end=end)
    return [pool.entry(ordinal) for ordinal in range(end - start)]


@given(key=st.binary(min_size=32, max_size=32), start=st.integers(0, 10**6), size=st.integers(1, 300))
def test_every_entry_comes_once(key: bytes, start: int, size: int) -> None:
    assert sorted(order(key, start, start + size)) == list(range(start, start + size))


def test_the_usual_range_is_whole() -> None:
    assert sorted(order(KEY, 1 << 16, (1 << 16) + (1 << 14))) == list(range(1 << 16, (1 << 16) + (1 << 14)))


def test_key_and_range_change_the_order() -> None:
    mine = order(KEY, 0, 1024)
    assert mine != order(KEY[::-1], 0, 1024)
    assert mine != [entry - 1024 for entry in order(KEY, 1024, 2048)]


def test_neighbours_in_time_are_no_neighbours_in_the_list() -> None:
    """In an order by chance, two following entries are adjacent about twice in 4096 draws; counting up, always."""
    drawn = order(KEY, 0, 4096)
    adjacent = sum(abs(before - after) == 1 for before, after in pairwise(drawn))
    assert adjacent < 20
    assert sum(entry < 2048 for entry in drawn[:200]) in range(60, 140)


@pytest.mark.parametrize("ordinal", [-1, 16])
def test_a_range_ends(ordinal: int) -> None:
    with pytest.raises(IndexError):
        Pool(key=KEY, start=0, end=16).entry(ordinal)
