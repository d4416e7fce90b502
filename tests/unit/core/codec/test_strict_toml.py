"""TOML is refused whole, with the line on which the fault is written, in whichever of TOML's many ways."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opanel_agent.core.codec.strict_toml import boolean, integer, line_of, loads, mapping, string
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Misconfigured

REASON = Reason.CONSENT_REFUSED
FILE = """\
schema = 1 # a.b
text = \"\"\"
[a]
b = 1
\"\"\"

dotted.key = 1
"quoted" = 2
inline = { deep = { x = 1 }, y = 2 }
list = [
  1,
  2,
] # b

[a]

b = 1 # the one that is meant
[c.b]
d = 1
[ "e" . f ]
b\t= 1
"""


def read(data: bytes) -> None:
    table = loads(data, REASON)
    table.take("known", integer)
    table.table("within").end()
    table.end()


def refusal(data: bytes) -> tuple[str, int, str]:
    with pytest.raises(Misconfigured) as caught:
        read(data)
    assert caught.value.code is REASON
    return caught.value.detail, int(caught.value.values["line"]), str(caught.value.values.get("name", ""))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("schema", 1),
        ("text", 2),
        ("dotted", 7),
        ("dotted.key", 7),
        ("quoted", 8),
        ("inline", 9),
        ("inline.deep.x", 9),
        ("inline.y", 9),
        ("list", 10),
        ("a", 15),
        ("a.b", 17),
        ("c", 18),
        ("c.b", 18),
        ("c.b.d", 19),
        ("e.f", 20),
        ("e.f.b", 21),
        ("b", None),
        ("a.b.c", None),
        ("c.d", None),
        ("list.b", None),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_key_is_found_however_it_is_written(path: str, line: int | None, end: str) -> None:
    text = FILE.replace("\n", end)
    assert line_of(text, tuple(path.split("."))) == line


def test_nothing_is_found_in_what_is_no_toml() -> None:
    assert line_of("a = 1\nb", ("a",)) is None
    assert line_of("", ("a",)) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["", "# x = 1", "[t{}]", "k{} = 1", 'k{} = """\nk0 = 1\n"""', "k{} = [\n1,\n\n2]"])))
def test_each_statement_is_found_on_its_own_line(statements: list[str]) -> None:
    text, table, places = "", "", {}
    for number, statement in enumerate(statements):
        written = statement.format(number)
        if written.startswith("["):
            table = f"t{number}"
            places[table] = text.count("\n") + 1
        elif written.startswith("k"):
            places[f"{table}.k{number}".lstrip(".")] = text.count("\n") + 1
        text += written + "\n"
    assert {path: line_of(text, tuple(path.split("."))) for path in places} == places


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("toml_schema", 1, "schema")),
        ("# a\nschema = 0", ("toml_schema", 2, "schema")),
        ("a = 1\nschema = true", ("toml_type", 2, "schema")),
        ("schema = 1\nx = 1", ("toml_unknown", 2, "x")),
        ("schema = 1\n[within]\nx = 1", ("toml_unknown", 3, "within.x")),
        ("schema = 1\n[other]\nx = 1\n[within]\nx = 1", ("toml_unknown", 5, "within.x")),
        ("schema = 1\nknown = 1.0", ("toml_type", 2, "known")),
        ("schema = 1\nwithin = 1", ("toml_type", 2, "within")),
        ("schema = 1\n[[within]]", ("toml_type", 2, "within")),
        ("schema = 1\n\nx", ("toml_syntax", 3, "")),
        ("schema = 1\nx = 1\nx = 2\n", ("toml_syntax", 3, "")),
        ("schema = 1\n\nx =", ("toml_syntax", 3, "")),
        (f"schema = 1\nx = {'9' * 5000}\ny = 1\n", ("toml_syntax", 2, "")),
        (f"schema = 1\nx = {'[' * 5000}\ny = 1\n", ("toml_syntax", 2, "")),
    ],
)
def test_every_fault_has_its_line_and_name(text: str, expected: tuple[str, int, str]) -> None:
    assert refusal(text.encode()) == expected


def test_a_name_is_not_told_at_any_length() -> None:
    assert refusal(b"schema = 1\n" + b"x" * 500 + b" = 1") == ("toml_unknown", 2, "x" * 80)


def test_another_encoding_is_refused_with_its_line() -> None:
    assert refusal(b"schema = 1\nx = 'T\xfcrk'\ny = '\xfc'\n") == ("toml_utf8", 2, "")


def test_another_schema_can_be_asked_for() -> None:
    loads(b"schema = 2", REASON, schema=2).end()
    with pytest.raises(Misconfigured):
        loads(b"schema = 1", REASON, schema=2)


@pytest.mark.parametrize("mistyped", ["Known", "knwon", "KNOWN", "know"])
def test_a_key_that_seems_to_be_another_mistyped_is_the_one_that_is_named(mistyped: str) -> None:
    table = loads(f"schema = 1\nother = 2\n{mistyped} = 3\n".encode(), REASON)
    with pytest.raises(Misconfigured) as caught:
        table.need("known", integer)
    assert (caught.value.detail, caught.value.values) == ("toml_unknown", {"name": mistyped, "line": 3})


def test_a_key_that_must_be_there_is_missed_on_its_tables_line() -> None:
    table = loads(b"schema = 1\n\n[within]\n", REASON).table("within")
    with pytest.raises(Misconfigured) as caught:
        table.need("known", integer)
    assert (caught.value.detail, caught.value.values) == ("toml_missing", {"name": "within.known", "line": 3})
    absent = loads(b"\nschema = 1\n", REASON).table("within")
    with pytest.raises(Misconfigured) as caught:
        absent.need("known", integer)
    assert caught.value.values == {"name": "within.known", "line": 1}


def test_what_is_taken_is_what_is_there() -> None:
    table = loads(b"schema = 1\nknown = 7\n", REASON)
    assert (table.has("known"), table.has("x")) == (True, False)
    assert (table.take("known", integer), table.take("x", integer), table.need("known", integer)) == (7, None, 7)
    assert (table.line("known"), table.line("x")) == (2, None)
    table.end()


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (boolean, [True, False], [1, 0, "true", None, []]),
        (integer, [0, 7], [True, 1.0, "1"]),
        (string, ["", "a"], [1, True, ["a"]]),
        (mapping, [{}, {"a": 1}], [[], "a", 1]),
    ],
)
def test_a_type_is_that_type_alone(read: object, good: list[object], bad: list[object]) -> None:
    assert callable(read)
    assert [read(value) for value in good] == good
    for value in bad:
        with pytest.raises(TypeError):
            read(value)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="schema=1 \n.[]{}\"'\\ud#,true-:TZ", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_with_a_line_of_theirs(data: bytes) -> None:
    lines = data.count(b"\n") + 1
    try:
        loads(data, REASON)
    except Misconfigured as fault:
        named = fault.values["line"]
    else:
        named = lines
    assert 1 <= int(named) <= lines


def test_a_long_text_does_not_make_a_refusal_long() -> None:
    """Else a refused file would cost a pass its minute of CPU time, and the license its answer."""
    data = b'schema = 1\nx = """\n' + b"a\n" * 30_000 + b'"""\n'
    began_s = time.process_time()
    with pytest.raises(Misconfigured) as refused:
        loads(data, Reason.SETTINGS_REFUSED).end()
    assert time.process_time() - began_s < 10
    assert refused.value.values["line"] == 2
