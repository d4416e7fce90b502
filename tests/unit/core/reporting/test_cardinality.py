"""The strings of a pattern are counted exactly, against a count by trying and one of Python's own parse tree."""

import re
from itertools import product
from re import _constants as node  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from opanel_agent.core.reporting.cardinality import count, powers
from opanel_agent.system.storage.resources import load_catalog


def by_trying(pattern: str, alphabet: str, longest: int) -> int:
    texts = ("".join(letters) for length in range(longest + 1) for letters in product(alphabet, repeat=length))
    return sum(1 for text in texts if re.fullmatch(pattern, text))


def by_parse_tree(pattern: str) -> int:
    """As `re` itself reads the pattern: nothing of ours takes part."""
    return _sequence(_parser.parse(pattern))


def _sequence(parsed: Any) -> int:
    total = 1
    for operation, argument in parsed:
        total *= _node(operation, argument)
    return total


def _node(operation: Any, argument: Any) -> int:
    if operation is node.LITERAL:
        return 1
    if operation is node.IN:
        return len(
            {
                code
                for kind, item in argument
                for code in (range(item[0], item[1] + 1) if kind is node.RANGE else [item])
            }
        )
    if operation is node.BRANCH:
        return sum(_sequence(each) for each in argument[1])
    if operation is node.SUBPATTERN:
        return _sequence(argument[3])
    assert operation is node.MAX_REPEAT, operation
    low, high, inner = argument
    each = _sequence(inner)
    return sum(each**times for times in range(low, high + 1))


@pytest.mark.parametrize(
    ("pattern", "strings"),
    [
        ("", 1),
        ("a", 1),
        ("ab", 1),
        ("a|b", 2),
        ("a|b|", 3),
        ("[ab]", 2),
        ("[ab-]", 3),
        ("[-a]", 2),
        ("[a-c]", 3),
        ("[aab]", 2),
        (r"\.[ab]", 2),
        (r"[\]a]", 2),
        ("a?", 2),
        ("[ab]?b", 3),
        ("[ab]{2}", 4),
        ("[ab]{0,3}", 15),
        ("(?:a|bc)", 2),
        ("(?:a|bc){2}", 4),
        ("(?:a(?:b|c)?|c)b", 4),
        ("[ab]{1,2}c|a", 7),
    ],
)
def test_small_patterns(pattern: str, strings: int) -> None:
    assert count(pattern) == strings == by_trying(pattern, "abc.-]", 4)


@pytest.mark.parametrize(
    "pattern",
    [
        "a*",
        "a+",
        "a{2,}",
        ".",
        "^a",
        "a$",
        "(a)",
        "(?=a)",
        "[^a]",
        r"\d",
        r"[\d]",
        r"a\b",
        "a{,2}",
        "a)",
        "(?:a",
        "[a",
        "a{2",
        "?",
    ],
)
def test_what_cannot_be_counted_is_refused(pattern: str) -> None:
    with pytest.raises((ValueError, re.error)):
        count(pattern)


def test_the_patterns_that_ship_are_counted_as_python_reads_them() -> None:
    patterns = [field.pattern for sheet in load_catalog().sheets.values() for field in sheet.fields.values()]
    shipped = {pattern for pattern in patterns if pattern is not None}
    assert len(shipped) > 5
    for pattern in shipped:
        assert count(pattern) == by_parse_tree(pattern), pattern


@pytest.mark.parametrize(("base", "low", "high"), [*product(range(4), range(4), range(5))])
def test_sequences_are_counted_as_term_by_term(base: int, low: int, high: int) -> None:
    assert powers(base, low, high) == sum(base**exponent for exponent in range(low, high + 1))
