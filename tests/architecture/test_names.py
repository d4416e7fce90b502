"""Nothing of ours is named by a verb of speaking: a name says what a value is, not that somebody told it."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PARTS: Final = ("agent", "authority", "packaging", "tests")
FORBIDDEN: Final = {"told", "said", "say", "tell"}
NOT_YET: Final = (
    "agent/opanel_agent/cli/context.py",
    "tests/fixtures/doctor_host.py",
    "tests/unit/cli/test_doctor.py",
)
"""Where some are left. This list only becomes shorter."""

pytestmark = pytest.mark.once


def python_files() -> Iterator[Path]:
    for part in PARTS:
        for path in sorted((ROOT / part).rglob("*")):
            if path.suffix == ".py" or (path.is_file() and not path.suffix and _is_python(path)):
                yield path


def _is_python(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline()
    return first.startswith(b"#!") and b"python" in first


def bound(node: ast.AST) -> str:
    """The name that a node gives to something; "" where it gives none. Names of others, as `file.tell`, are theirs."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
            return name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.alias(asname=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return name
        case _:
            return ""


def spoken(source: str) -> list[str]:
    """Lines and names that are forbidden: `told`, `_told`, `TOLD`; not words within a longer name, as a test's sentence."""
    return [
        f"{getattr(node, 'lineno', 0)}: {bound(node)}"
        for node in ast.walk(ast.parse(source))
        if bound(node).strip("_").lower() in FORBIDDEN
    ]


def found_in() -> dict[str, list[str]]:
    found = {str(path.relative_to(ROOT)): spoken(path.read_text("utf-8")) for path in python_files()}
    return {path: lines for path, lines in found.items() if lines}


def test_no_name_says_only_that_something_was_told() -> None:
    assert {path: lines for path, lines in found_in().items() if not path.startswith(NOT_YET)} == {}


def test_an_exception_without_such_names_is_one_no_longer() -> None:
    found = found_in()
    assert [place for place in NOT_YET if not any(path.startswith(place) for path in found)] == []


@pytest.mark.parametrize(
    "source",
    [
        "told = 1",
        "for _said in (): ...",
        "def say(): ...",
        "def f(*, told): ...",
        "class Told: ...",
        "self.told: int = 1",
        "with f() as said: ...",
        "import log as tell",
        "match x:\n    case [*told]: ...",
        "[told for told in x]",
    ],
)
def test_such_a_name_would_be_seen(source: str) -> None:
    assert len(spoken(source)) == 1


def test_what_is_not_ours_to_name_is_left() -> None:
    assert spoken("file.tell()\nf(told=1)\ndef test_what_was_told_is_said(): ...\nx = {'told': 1}") == []
