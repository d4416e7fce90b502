"""The pages on troubleshooting have every code that a program of this repository can print, found apart from them."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fixtures import error_details
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.problems import REFUSALS
from opanel_authority import messages as authority

ROOT: Final = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "packaging"))
from generators import failure_codes  # noqa: E402 - found by that folder

INSTALLER: Final = "".join((ROOT / name).read_text("utf-8") for name in ("install.sh", "packaging/installer/python.sh"))
PAGES: Final = {
    language: (ROOT / f"docs/troubleshooting/{language}.md").read_text("utf-8") for language in ("en", "tr")
}


@pytest.fixture(params=sorted(PAGES))
def page(request: pytest.FixtureRequest) -> str:
    return PAGES[str(request.param)]


def rows(page: str, number: int) -> dict[str, list[str]]:
    """The table of the section with this number (reasons 1, errors 2, codes 3, install.sh 4, authority 5), by first cell."""
    lines = re.findall(r"^\| `(\w+)` \| (.*) \|$", page.split("\n## ")[number], re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in lines}


def test_every_code_of_the_agent_is_told(page: str) -> None:
    details = {each.detail for each in error_details.raised()} | {refusal.detail for refusal in REFUSALS}
    assert rows(page, 1).keys() == {str(reason) for reason in Reason}
    assert details <= rows(page, 2).keys()
    assert list(rows(page, 3)) == [str(fault) for fault in Fault]


def test_every_detail_of_a_code_stands_among_the_errors(page: str) -> None:
    named = {detail for (cell,) in rows(page, 3).values() for detail in re.findall(r"`(\w+)`", cell)}
    assert len(named) > 60
    assert named <= rows(page, 2).keys()


def test_every_code_of_the_installer_is_told(page: str) -> None:
    """By its calls: each failure is `fail CODE …` in install.sh, and `CannotError("CODE", …)` in what it hands over to."""
    lines = [line for line in INSTALLER.splitlines() if not line.lstrip().startswith("#")]
    called = {code for line in lines for code in re.findall(r"\bfail ([a-z_]+)\b", line)}
    handed = "".join(path.read_text("utf-8") for path in (ROOT / "packaging/installer").glob("*.py"))
    called |= set(re.findall(r"""CannotError\(\s*"([a-z_]+)\"""", handed))
    assert len(called) > 25
    assert rows(page, 4).keys() == called


def test_every_code_of_the_authority_is_told(page: str) -> None:
    """By what its source raises: a detail is in its own table, or is the agent's verifier's."""
    listed = rows(page, 5).keys() | rows(page, 2).keys()
    raised = set(authority_details())
    assert len(raised) > 60
    assert raised - listed == set()
    assert rows(page, 5).keys() == set(authority._TABLE)


def authority_details() -> Iterator[str]:
    for path in (ROOT / "authority/opanel_authority").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            match call:
                case ast.Call(func=ast.Name(id=name), args=[_, ast.Constant(value=str(detail)), *_]):
                    if name in error_details.KINDS:
                        yield detail
                case _:
                    pass


def test_no_cell_is_empty(page: str) -> None:
    tables = [rows(page, number) for number in (1, 2, 3, 4, 5)]
    assert [name for table in tables for name, cells in table.items() if not all(cell.strip() for cell in cells)] == []


def test_both_languages_tell_the_same_codes() -> None:
    english, turkish = PAGES["en"], PAGES["tr"]
    assert [list(rows(english, number)) for number in range(1, 6)] == [
        list(rows(turkish, number)) for number in range(1, 6)
    ]
    assert not {text for text, *_ in rows(english, 4).values()} & {text for text, *_ in rows(turkish, 4).values()}


@pytest.mark.parametrize(
    "line", ["    new) cannot 64 'only English' ;;", "    new) cannot 64 $2 ;;", "    new) say x ;;"]
)
def test_a_failure_of_the_installer_that_cannot_be_read_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"install\.sh, problem\(\)"):
        failure_codes._branch(line, "en")
