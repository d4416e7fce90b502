"""Records come back as they were written, whole, or are refused with the place of the fault."""

import re
from collections.abc import Mapping
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.refusal import refused
from opanel_agent.core.codec import record
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.record import (
    APART,
    MAY_BE_ABSENT,
    OMITTED_IF_NONE,
    Integer,
    Items,
    Member,
    Octets,
    Text,
)
from opanel_agent.core.codec.strict_json import MAX_INT, dumps, loads
from opanel_agent.core.text_safety import is_safe
from opanel_agent.core.values import field, frozen


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    NONE = 0
    ONE = 1


@frozen
class Inner:
    name: Annotated[str, Text(max_length=8, pattern=re.compile("[a-z]*"))]
    level: Level = Level.NONE


@frozen
class Outer:
    flag: bool
    number: Annotated[int, Integer(low=2, high=7)]
    plain: int
    text: str
    raw: Annotated[bytes, Octets(size=3)]
    colour: Colour
    maybe: int | None
    also_maybe: Optional[str]  # noqa: UP045 - the other spelling of the same type
    inner: Inner
    perhaps: Inner | None
    rows: Annotated[tuple[Inner, ...], Items(most=3)]
    pair: tuple[str, int]
    pairs: tuple[tuple[str, str], ...]
    words: Annotated[frozenset[str], Items(most=4), Text(max_length=4)]
    colours: frozenset[Colour]
    counts: Annotated[Mapping[str, int], Items(most=3)]
    listed: list[str]
    table: dict[str, tuple[int, ...]]
    renamed: Annotated[str, Member(name="sha256")]
    omitted: Annotated[int | None, OMITTED_IF_NONE] = None
    later: Annotated[bool, MAY_BE_ABSENT] = True
    body: Annotated[bytes, APART] = b""


safe = st.text(max_size=16).filter(is_safe)
inners = st.builds(Inner, name=st.from_regex("[a-z]{0,8}", fullmatch=True), level=st.sampled_from(Level))
outers = st.builds(
    Outer,
    flag=st.booleans(),
    number=st.integers(2, 7),
    plain=st.integers(0, MAX_INT),
    text=safe,
    raw=st.binary(min_size=3, max_size=3),
    colour=st.sampled_from(Colour),
    maybe=st.none() | st.integers(0, 9),
    also_maybe=st.none() | safe,
    inner=inners,
    perhaps=st.none() | inners,
    rows=st.lists(inners, max_size=3).map(tuple),
    pair=st.tuples(safe, st.integers(0, 9)),
    pairs=st.lists(st.tuples(safe, safe), max_size=3).map(tuple),
    words=st.frozensets(st.text(max_size=4).filter(is_safe), max_size=4),
    colours=st.frozensets(st.sampled_from(Colour)),
    counts=st.dictionaries(safe, st.integers(0, 9), max_size=3),
    listed=st.lists(safe, max_size=3),
    table=st.dictionaries(safe, st.lists(st.integers(0, 9), max_size=3).map(tuple), max_size=3),
    renamed=safe,
    omitted=st.none() | st.integers(0, 9),
    later=st.booleans(),
)


@given(outers)
def test_what_is_written_comes_back(value: Outer) -> None:
    data = record.encode(value, schema=2)
    assert record.decode(Outer, data, "outer", max_bytes=len(data), schema=2) == value
    assert dumps(loads(data, max_bytes=len(data))) == data


@given(outers, st.binary(max_size=8))
def test_what_lies_apart_is_neither_written_nor_read(value: Outer, body: bytes) -> None:
    members = record.to_json(value)
    assert "body" not in members
    assert record.read(Outer, Members(members, "outer"), body=body).body == body


GOOD = record.to_json(
    Outer(
        flag=True,
        number=3,
        plain=1,
        text="t",
        raw=b"abc",
        colour=Colour.RED,
        maybe=None,
        also_maybe=None,
        inner=Inner(name="a"),
        perhaps=None,
        rows=(Inner(name="b"),),
        pair=("p", 1),
        pairs=(("a", "b"),),
        words=frozenset({"w2", "w1"}),
        colours=frozenset({Colour.RED}),
        counts={"-k": 1},
        listed=["l"],
        table={"t": (1,)},
        renamed="r",
    )
)


def test_the_shape() -> None:
    assert GOOD["words"] == ["w1", "w2"]
    assert (GOOD["raw"], GOOD["colour"], GOOD["inner"]) == ("YWJj", "red", {"name": "a", "level": 0})
    assert (GOOD["sha256"], GOOD["pair"], GOOD["pairs"]) == ("r", ["p", 1], [["a", "b"]])
    assert not {"omitted", "renamed", "body"} & set(GOOD)


@pytest.mark.parametrize(
    ("name", "value", "detail", "where"),
    [
        ("flag", 1, "member_type", "outer"),
        ("number", 8, "member_value", "outer"),
        ("number", 1, "member_value", "outer"),
        ("number", True, "member_type", "outer"),
        ("plain", -1, "member_value", "outer"),
        ("text", "a\u202eb", "member_value", "outer"),
        ("text", "a" * 257, "member_value", "outer"),
        ("text", None, "member_type", "outer"),
        ("raw", "YWI", "member_value", "outer"),
        ("raw", "YQ==", "base64url", "outer"),
        ("colour", "blue", "member_value", "outer"),
        ("colour", ["red"], "member_value", "outer"),
        ("maybe", "1", "member_type", "outer"),
        ("inner", {"name": "UP", "level": 0}, "member_value", "outer.inner"),
        ("inner", {"name": "a", "level": True}, "member_value", "outer.inner"),
        ("inner", {"name": "a", "level": 7}, "member_value", "outer.inner"),
        ("inner", {"name": "a"}, "member_missing", "outer.inner"),
        ("inner", {"name": "a", "level": 0, "more": 1}, "member_unknown", "outer.inner"),
        ("inner", {"name": "a", "level": 0, "x": {}}, "member_unknown", "outer.inner"),
        ("inner", [], "member_type", "outer"),
        ("rows", [{"name": "a", "level": 0}] * 4, "member_value", "outer"),
        ("rows", [1], "member_type", "outer"),
        ("rows", {}, "member_type", "outer"),
        ("pair", ["p"], "member_value", "outer"),
        ("pair", ["p", 1, 2], "member_value", "outer"),
        ("pair", [1, "p"], "member_type", "outer"),
        ("words", ["a", "a"], "member_value", "outer"),
        ("words", ["abcde"], "member_value", "outer"),
        ("words", ["a", "b", "c", "d", "e"], "member_value", "outer"),
        ("counts", {"a": 1, "b": 1, "c": 1, "d": 1}, "member_value", "outer"),
        ("counts", {"a": "1"}, "member_type", "outer.counts"),
        ("listed", "l", "member_type", "outer"),
        ("omitted", None, "member_value", "outer"),
        ("omitted", "1", "member_type", "outer"),
        ("later", None, "member_type", "outer"),
        ("more", 1, "member_unknown", "outer"),
    ],
)
def test_a_fault_is_named(name: str, value: Any, detail: str, where: str) -> None:
    with refused(detail, where=where):
        record.read(Outer, Members({**GOOD, name: value}, "outer"))


@pytest.mark.parametrize("name", sorted(set(GOOD) - {"later"}))
def test_what_is_missing_is_named(name: str) -> None:
    with refused("member_missing", where="outer", name=name):
        record.read(Outer, Members({key: value for key, value in GOOD.items() if key != name}, "outer"))


def test_an_older_file_may_lack_what_came_later() -> None:
    old = Members({key: value for key, value in GOOD.items() if key != "later"}, "outer")
    assert record.read(Outer, old).later is True


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"[]", "member_type"),
        (b'{"schema":2}', "member_value"),
        (b"{", "json_syntax"),
        (b'{"schema":true}', "member_value"),
    ],
)
def test_another_schema_or_no_object_is_refused(data: bytes, detail: str) -> None:
    with refused(detail):
        record.decode(Inner, data, "inner", max_bytes=64)


def test_a_text_that_is_too_long_is_not_parsed() -> None:
    with refused("json_size"):
        record.decode(Inner, record.encode(Inner(name="a")), "inner", max_bytes=9)


class Floating(Enum):
    HALF = 0.5


def _kind(hint: Any, **more: Any) -> Any:
    body = {"__annotations__": {"value": hint}, **({"value": field(**more)} if more else {})}
    return frozen(type("Made", (), body))


@pytest.mark.parametrize("hint", [float, int | str, set[str], object, Annotated[dict[str, float], Items()]])
def test_a_type_without_a_row_is_a_mistake_of_the_programmer(hint: Any) -> None:
    with pytest.raises(TypeError, match="no JSON for"):
        record.to_json(_kind(hint)(value=1))


@pytest.mark.parametrize("mark", [OMITTED_IF_NONE, MAY_BE_ABSENT])
def test_what_may_be_absent_needs_a_default(mark: Member) -> None:
    with pytest.raises(TypeError, match="no default"):
        record.to_json(_kind(Annotated[int | None, mark])(value=1))
    record.to_json(_kind(Annotated[int | None, mark], default=None)(value=1))
    record.to_json(_kind(Annotated[list[int], mark], default_factory=list)(value=[1]))


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (bool, 1),
        (int, "1"),
        (str, 1),
        (bytes, "1"),
        (Colour, "red"),
        (Floating, Floating.HALF),
        (Inner, GOOD),
        (tuple[int, ...], [1]),
        (frozenset[int], frozenset({1})),
        (dict[str, int], [1]),
        (dict[str, int], {1: 1}),
    ],
)
def test_a_value_of_another_type_than_its_field_is_not_written(hint: Any, value: Any) -> None:
    with pytest.raises(TypeError, match="no JSON for"):
        record.to_json(_kind(hint)(value=value))
