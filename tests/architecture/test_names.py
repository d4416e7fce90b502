"""Nothing of ours is named by a verb of speaking: a name says what a value is, not that somebody told it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PARTS: Final = ("agent", "authority", "packaging", "tests")
FORBIDDEN: Final = {"told", "said", "say", "tell"}
# As a word of its own: a source without one has no such name, and need not be parsed.
WORDS: Final = re.compile(rf"\b_*(?:{'|'.join(sorted(FORBIDDEN))})_*\b", re.IGNORECASE)
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
    if not WORDS.search(source):
        return []
    return [
        f"{getattr(node, 'lineno', 0)}: {name}"
        for node in ast.walk(ast.parse(source))
        if (name := bound(node)).strip("_").lower() in FORBIDDEN
    ]


def found_in() -> dict[str, list[str]]:
    found = {str(path.relative_to(ROOT)): spoken(path.read_text("utf-8")) for path in python_files()}
    return {path: lines for path, lines in found.items() if lines}


def test_no_name_says_only_that_something_was_told() -> None:
    assert found_in() == {}
