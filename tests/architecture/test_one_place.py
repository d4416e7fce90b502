"""One name for one thing and one place for it: class names, and spellings that have a table of their own."""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from architecture import import_rules

ROOT: Final = Path(__file__).resolve().parents[2]
TREE: Final = import_rules.read(ROOT)
CORE: Final = "opanel_agent.core"

pytestmark = pytest.mark.once


# ---- class names


def public_classes(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """The modules that define each public class, both distributions together."""
    found: dict[str, list[str]] = defaultdict(list)
    for module, source in sources.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(module)
    return found


def test_no_two_public_classes_share_a_name() -> None:
    assert {name: where for name, where in public_classes(TREE).items() if len(where) > 1} == {}


def test_two_classes_of_one_name_would_be_seen() -> None:
    assert public_classes({"a": "class Same: ...\nclass _Own: ...", "b": "class Same: ...\nclass _Own: ..."}) == {
        "Same": ["a", "b"]
    }


# ---- spellings that stand in one place


@cache
def literals(source: str) -> tuple[tuple[int, object], ...]:
    """Line and value of every literal but docstrings; a tuple, list or set of strings as one tuple."""
    return tuple(_literals(ast.parse(source)))


def _literals(tree: ast.Module) -> Iterator[tuple[int, object]]:
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=int() | float() | str() as value):
                yield node.lineno, value
            case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
                values = [item.value for item in items if isinstance(item, ast.Constant)]
                if len(values) == len(items) > 1:
                    yield node.lineno, tuple(sorted(map(str, values)))
            case _:
                pass


CONTROLS: Final = re.compile(
    r"\\x1f|\\x7f|\\x9f|\\u20(?:2|6)[0-9a-f]|[\x1f\x7f\x9f\u2028-\u202e\u2060-\u206f]", re.IGNORECASE
)
SPELLINGS: Final[dict[str, tuple[Callable[[object], bool], set[str]]]] = {
    "seconds of a day or an hour": (lambda value: value in {86_400, 3_600}, {f"{CORE}.units"}),
    "the two languages": (lambda value: value == ("en", "tr"), {f"{CORE}.units"}),
    "a class of control characters": (
        lambda value: isinstance(value, str) and bool(CONTROLS.search(value)),
        {f"{CORE}.text_safety"},
    ),
    "the type of a problem": (
        lambda value: isinstance(value, str) and value.startswith("urn:opanel:problem:"),
        {f"{CORE}.problems"},
    ),
    "the detail of a problem": (lambda value: value == "problem_", {f"{CORE}.problems"}),
}
"""What is looked for in the literals, and the modules that may have it."""


@cache
def docstrings(source: str) -> frozenset[int]:
    """The first lines of the docstrings: prose may name what code may not spell."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.add(node.value.lineno)
    return frozenset(found)


def second_spellings(sources: Mapping[str, str], what: str) -> list[str]:
    wanted, places = SPELLINGS[what]
    found: list[str] = []
    for module, source in sources.items():
        prose = docstrings(source)
        found += [
            f"{module}:{line}"
            for line, value in literals(source)
            if wanted(value) and module not in places and line not in prose
        ]
    return found


@pytest.mark.parametrize("what", SPELLINGS)
def test_it_is_spelled_in_its_one_place(what: str) -> None:
    assert second_spellings(TREE, what) == []


@pytest.mark.parametrize("what", SPELLINGS)
def test_its_one_place_spells_it(what: str) -> None:
    """A rule that finds nothing anywhere looks for what is written in another way."""
    wanted, places = SPELLINGS[what]
    for module in places - {f"{CORE}.units"}:
        assert any(wanted(value) for _, value in literals(TREE[module]))


@pytest.mark.parametrize(
    ("what", "source"),
    [
        ("seconds of a day or an hour", "WAIT_S = 2 * 86_400"),
        ("seconds of a day or an hour", "WAIT_S = 3600.0"),
        ("the two languages", 'for lang in ["tr", "en"]: ...'),
        ("a class of control characters", r"SHOWN = '[^\x00-\x1f\u202e]'"),
        ("a class of control characters", r"SHOWN = r'[^\x00-\x1f]'"),
        ("the type of a problem", 'TYPE = "urn:opanel:problem:revoked"'),
        ("the detail of a problem", 'name = detail.removeprefix("problem_")'),
    ],
)
def test_a_second_spelling_would_be_seen(what: str, source: str) -> None:
    assert second_spellings({"m": f'"""86400, urn:opanel:problem:x, problem_."""\n{source}\n'}, what) == ["m:2"]
