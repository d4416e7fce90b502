"""The glossary names only what there is, and each name once."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
GLOSSARY: Final = (ROOT / "docs/glossary.md").read_text("utf-8")
ROWS: Final = [
    [cell.strip() for cell in line[1:-1].split("|")]
    for line in GLOSSARY.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| name |"))
]
CODE: Final = re.compile(r"`([^`]+)`")
# Where a name that is not the code's is told to those who meet it.
PROSE: Final = "\n".join(
    path.read_text("utf-8")
    for pattern in ("docs/*.md", "docs/man/en/*.md", "systemd/*")
    for path in ROOT.glob(pattern)
    if path.name != "glossary.md"
)


def found(name: str) -> bool:
    """Whether there is a module or package of this name, or a class in the module before its last dot."""
    top = ROOT / ("authority" if name.startswith("opanel_authority") else "agent/opanel_agent")
    path = top.joinpath(*name.split("."))
    if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
        return True
    module, _, last = name.rpartition(".")
    file = top.joinpath(*module.split(".")).with_suffix(".py")
    if not file.is_file():
        return False
    return any(isinstance(node, ast.ClassDef) and node.name == last for node in ast.parse(file.read_text("utf-8")).body)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_row_names_is_there(row: list[str]) -> None:
    name, meaning, code, elsewhere = row
    assert name
    assert meaning
    assert CODE.findall(code) != []
    assert [each for each in CODE.findall(code) if not found(each)] == []
    assert [each for each in CODE.findall(elsewhere) if each not in PROSE] == []


def test_each_name_is_told_once() -> None:
    names = [each for row in ROWS for each in row[0].split(", ")]
    assert len(names) == len(set(names)) > 50


def test_a_name_that_is_gone_is_found_out() -> None:
    assert found("core.errors")
    assert found("core.errors.Untrusted")
    assert found("opanel_authority.documents.rotate")
    assert not found("core.errors.Mistrusted")
    assert not found("core.mistakes")
