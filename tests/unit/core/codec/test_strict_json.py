"""Proves that JSON is read in one way only, and that an object is taken apart without anything left over."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.data.unsafe_text import UNSAFE
from fixtures.refusal import refused
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codec.strict_json import MAX_DEPTH, MAX_INT, dumps, loads
from opanel_agent.core.errors import Untrusted


def read(text: str | bytes) -> Any:
    return loads(text if isinstance(text, bytes) else text.encode(), max_bytes=10_000)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        (' {"a" : [ 1 , true , null , "\u0131" ] }\n', {"a": [1, True, None, "\u0131"]}),
        ("0", 0),
        (str(MAX_INT), MAX_INT),
        (r'"\ud83d\ude00"', "\U0001f600"),
        (r'"\"[[[[[[[[[[\\"', '"[[[[[[[[[[\\'),
        ('"-1 99999999999999999999"', "-1 99999999999999999999"),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, [[[[[[[[]]]]]]]]),
        ("[" + "[]," * MAX_DEPTH + "{}]", [[]] * MAX_DEPTH + [{}]),
    ],
)
def test_what_is_admitted(text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (b"\xef\xbb\xbf{}", "json_bom"),
        (b'"\xff"', "json_utf8"),
        (b'"\xed\xa0\x80"', "json_utf8"),  # a surrogate, encoded
        (b'"\xc0\xaf"', "json_utf8"),  # overlong
        ("{}".encode("utf-16"), "json_utf8"),
        ('{"a":1,"a":1}', "json_duplicate"),
        ('{"b":{"a":1,"\\u0061":2}}', "json_duplicate"),
        ("1.0", "json_float"),
        ("1e2", "json_float"),
        ("NaN", "json_float"),
        ("Infinity", "json_float"),
        ("-Infinity", "json_integer"),
        ("-0", "json_integer"),
        ("[-1]", "json_integer"),
        (str(MAX_INT + 1), "json_integer"),
        ("1" * 17, "json_integer"),
        ("[" + "1" * 6000 + "]", "json_integer"),
        ("[" * 9 + "]" * 9, "json_depth"),
        ('{"a":' * 9 + "1" + "}" * 9, "json_depth"),
        ('[{"a":' * 4 + "[]" + "}]" * 4, "json_depth"),
        (r'"\"",' + "[" * 9, "json_depth"),
        ("[" * MAX_DEPTH, "json_syntax"),
        ("[" * 9000, "json_depth"),
        (r'"\ud800"', "json_surrogate"),
        (r'{"\udc00":1}', "json_surrogate"),
        (r'["\ude00\ud83d"]', "json_surrogate"),
        ("", "json_syntax"),
        ("{} {}", "json_syntax"),
        ("{'a':1}", "json_syntax"),
        ("[1,]", "json_syntax"),
        ("01", "json_syntax"),
        ('"a\nb"', "json_syntax"),
        ("\u00a0{}", "json_syntax"),
    ],
)
def test_what_is_refused(text: str | bytes, detail: str) -> None:
    with refused(detail):
        read(text)


def test_size_comes_before_everything() -> None:
    assert loads(b"[1]", max_bytes=3) == [1]
    with refused("json_size", max_bytes=2):
        loads(b"\xff\xff\xff", max_bytes=2)


def test_depth_can_be_asked_for() -> None:
    with refused("json_depth", max_depth=1):
        loads(b"[[]]", max_bytes=10, max_depth=1)


texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers(0, MAX_INT) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@settings(max_examples=100, deadline=None)
@given(values)
def test_what_is_written_reads_back(value: Any) -> None:
    assert loads(dumps(value), max_bytes=100_000, max_depth=99) == value


@settings(max_examples=100, deadline=None)
@given(st.text('[]{}",:\\ua0-1e.', max_size=24))
def test_nothing_is_read_that_python_reads_differently(text: str) -> None:
    """Whatever is admitted, the lenient parser gives the same value for; whatever it refuses is refused."""
    try:
        value = read(text)
    except Untrusted:
        return
    assert json.loads(text) == value


def test_dumps_is_compact_sorted_and_utf8() -> None:
    assert dumps({"b": [1, None], "a": "ş"}) == '{"a":"ş","b":[1,null]}'.encode()


# ------------------------------------------------------------------------------------------------------------ Members


def members(**values: Any) -> Members:
    return Members(values, "thing")


def test_a_reader_gives_each_kind() -> None:
    thing = members(
        t="x", i=7, b=False, c=1, s=["a", "b"], n={"accounts": 3}, m={"k": 1}, e=[{"k": 2}], d="AAE", v=None
    )
    assert thing.text("t") == "x"
    assert thing.integer("i") == 7
    assert thing.boolean("b") is False
    thing.constant("c", 1)
    assert thing.texts("s") == {"a", "b"}
    assert thing.integers("n") == {"accounts": 3}
    assert thing.members("m").integer("k") == 1
    assert [each.integer("k") for each in thing.each("e", 1)] == [2]
    assert thing.b64("d", size=2) == thing.b64("d", size=None) == b"\0\1"
    assert thing.value("v") is None
    assert thing.has("v")
    assert not thing.has("w")
    assert thing.names() == ("t", "i", "b", "c", "s", "n", "m", "e", "d", "v")
    thing.end()


@pytest.mark.parametrize(
    ("value", "read_it", "detail"),
    [
        (1, lambda m: m.text("a"), "member_type"),
        ("abc", lambda m: m.text("a", max_length=2), "member_value"),
        ("ab", lambda m: m.text("a", pattern="a"), "member_value"),
        ("a\n", lambda m: m.text("a", pattern="a"), "member_value"),
        ("a\x1b[2J", lambda m: m.text("a"), "member_value"),
        ("a\u202eb", lambda m: m.text("a"), "member_value"),
        (True, lambda m: m.integer("a"), "member_type"),
        ("1", lambda m: m.integer("a"), "member_type"),
        (4, lambda m: m.integer("a", low=5), "member_value"),
        (6, lambda m: m.integer("a", high=5), "member_value"),
        (1, lambda m: m.boolean("a"), "member_type"),
        (True, lambda m: m.constant("a", 1), "member_value"),
        ("y", lambda m: m.constant("a", "x"), "member_value"),
        ("ab", lambda m: m.texts("a"), "member_type"),
        (["a", 1], lambda m: m.texts("a"), "member_type"),
        (["a", "a"], lambda m: m.texts("a"), "member_value"),
        (["a", "b"], lambda m: m.texts("a", max_items=1), "member_value"),
        (["abc"], lambda m: m.texts("a", max_length=2), "member_value"),
        (["a\x7f"], lambda m: m.texts("a"), "member_value"),
        (["b"], lambda m: m.texts("a", pattern="a"), "member_value"),
        ([], lambda m: m.integers("a"), "member_type"),
        ({"": 1}, lambda m: m.integers("a"), "member_value"),
        ({"j": 1, "k": 1}, lambda m: m.integers("a", max_items=1), "member_value"),
        ([], lambda m: m.members("a"), "member_type"),
        ({}, lambda m: m.each("a", 9), "member_type"),
        ([{}, 1], lambda m: m.each("a", 9), "member_type"),
        ([{}, {}], lambda m: m.each("a", 1), "member_value"),
        ("A", lambda m: m.b64("a", size=None), "base64url"),
        ("AAE", lambda m: m.b64("a", size=3), "member_value"),
    ],
)
def test_a_reader_refuses_each_kind(value: Any, read_it: Any, detail: str) -> None:
    with refused(detail, where="thing", name="a"):
        read_it(members(a=value))


def test_a_fault_within_is_told_where_it_is() -> None:
    with refused("member_type", where="thing.a", name="k"):
        members(a={"k": True}).integers("a")


def test_a_text_is_safe_to_show_whatever_its_pattern() -> None:
    for character in UNSAFE.values():
        for pattern in (None, "(?s).*"):
            with refused("member_value", name="a"):
                members(a=f"x{character}y").text("a", pattern=pattern)
    for other in ("", " ", "\u0131", "\xa0", "\ufe0f", "\ue000", "\U0001f600"):
        assert members(a=other).text("a") == other


@pytest.mark.parametrize("kind", ["text", "integer", "boolean", "value", "texts", "integers", "members"])
def test_what_is_missing_is_named(kind: str) -> None:
    with refused("member_missing", where="thing", name="a"):
        getattr(members(), kind)("a")


def test_only_an_object_has_members() -> None:
    values: tuple[Json, ...] = ([], "x", None, 1)
    for value in values:
        with refused("member_type", where="thing"):
            Members(value, "thing")


def test_what_nobody_asked_for_is_refused() -> None:
    thing = members(a=1, b=2)
    thing.integer("a")
    with refused("member_unknown", name="b"):
        thing.end()


def test_a_name_that_could_speak_to_a_terminal_is_not_repeated() -> None:
    with refused("member_unknown", name="?"):
        Members({"\x1b[2J": 1}, "thing").end()


def test_x_may_hold_anything_but_only_outermost_and_only_as_an_object() -> None:
    members(x={"whatever": [1]}).end()
    with refused("member_type", name="x"):
        members(x=1).end()
    with refused("member_unknown", where="thing.inner", name="x"):
        members(inner={"x": {}}).members("inner").end()
    with refused("member_unknown", where="thing.inner", name="x"):
        members(inner=[{"x": {}}]).each("inner", 1)[0].end()


def test_a_caller_can_refuse_by_its_own_rule() -> None:
    with refused("member_value", where="thing", name="a"):
        raise members(a=1).refuse("a")


def test_an_optional_member_is_there_and_may_be_null() -> None:
    thing = members(a=None, b="t", c=None, d=7)
    assert (thing.optional_text("a"), thing.optional_text("b")) == (None, "t")
    assert (thing.optional_integer("c"), thing.optional_integer("d")) == (None, 7)
    thing.end()
    for read_it in (thing.optional_text, thing.optional_integer):
        with refused("member_missing", name="e"):
            read_it("e")
    with refused("member_type", name="d"):
        thing.optional_text("d")
    with refused("member_value", name="d"):
        thing.optional_integer("d", high=6)
