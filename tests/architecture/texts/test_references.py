"""Every file, module, class and function that a page names is there."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
AGENT: Final = ROOT / "agent/opanel_agent"
PAGES: Final = sorted([*ROOT.glob("*.md"), ROOT / "packaging/README.md", *(ROOT / "docs").rglob("*.md")])
TOPS: Final = tuple(
    sorted(path.stem for path in AGENT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file())
)
HERE: Final = "agent|authority|config|docs|packaging|systemd|tests"
FILE: Final = re.compile(rf"`((?:{HERE}|{'|'.join(TOPS)})/[\w./*-]*|(?:[\w-]+/)*[\w-]+\.py)`")
MODULE: Final = re.compile(rf"`((?:{'|'.join(TOPS)})(?:\.(?!(?:py|lock)\b)\w+)+)(?:\(\))?`")
# Where the name of a file may begin.
FROM: Final = (ROOT, AGENT, ROOT / "authority/opanel_authority", ROOT / "packaging")


def names(page: Path, pattern: re.Pattern[str]) -> list[str]:
    return sorted(set(pattern.findall(page.read_text("utf-8"))))


@cache
def defined(file: Path) -> frozenset[str]:
    """Every name at a module's top."""
    found: set[str] = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.Assign(targets=targets):
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
            case _:
                pass
    return frozenset(found)


def exists(dotted: str) -> bool:
    """Whether there is a package or module of this name, or something at its top."""
    path = AGENT.joinpath(*dotted.split("."))
    module, _, name = dotted.rpartition(".")
    file = AGENT.joinpath(*module.split(".")).with_suffix(".py")
    return path.is_dir() or path.with_suffix(".py").is_file() or (file.is_file() and name in defined(file))


def there(name: str) -> bool:
    if "/" not in name:
        return any(ROOT.glob(f"*/**/{name}"))
    return any(any(top.glob(name.rstrip("/"))) for top in FROM)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    assert [name for name in names(page, FILE) if not there(name)] == []
    assert [name for name in names(page, MODULE) if not exists(name)] == []


def test_what_is_gone_is_found_out() -> None:
    assert exists("core.errors.Untrusted")
    assert exists("core.license.verdict.judge")
    assert not exists("core.verdict")
    assert not exists("core.license.verdict.judgement")
    assert there("cli/main.py")
    assert not there("jobs/desk.py")


# tests that a page names, as pytest would take them: `test_gate.py::test_an_unknown_purpose_is_denied`

TEST: Final = re.compile(r"`((?:[\w-]+/)*\w+\.py)::(\w+)`")


def has_test(file: str, name: str) -> bool:
    """Whether exactly one file below tests/ ends in this path, and has a function of this name at its top."""
    found = [path for path in (ROOT / "tests").rglob(Path(file).name) if path.as_posix().endswith(f"/{file}")]
    return len(found) == 1 and name in defined(found[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    assert [named for named in sorted(set(TEST.findall(page.read_text("utf-8")))) if not has_test(*named)] == []


def test_a_test_that_is_gone_is_found_out() -> None:
    assert has_test("test_references.py", "test_a_test_that_is_gone_is_found_out")
    assert has_test("stories/walls.py", "stand")
    assert not has_test("test_references.py", "test_that_was_never_there")
    assert not has_test("days.py", "of_deny"), "two files are named so: which is meant is not said"
    assert not has_test("test_gone.py", "test_x")


def test_each_threat_names_what_holds_and_what_is_left() -> None:
    """A row without a test in it, or with an empty cell, claims what nobody checks."""
    text = (ROOT / "docs/threat-model.md").read_text("utf-8").partition("\n## Threats\n")[2].partition("\n## Root\n")[0]
    rows = [row for row in re.findall(r"^\| (.*) \|$", text, re.MULTILINE) if not row.startswith("---")]
    threats = [row.split(" | ") for row in rows if not row.endswith("| held | left")]
    assert len(threats) > 40
    unheld = {row[0] for row in threats if not TEST.search(row[1])}
    assert unheld == {"an observer counts and reads metadata"}  # nothing hides it, and the row says so
    assert [row for row in threats if len(row) != 3 or not all(cell.strip() for cell in row)] == []


def test_each_claim_to_an_auditor_names_a_test() -> None:
    text = (ROOT / "docs/auditors.md").read_text("utf-8").partition("\n## Claims and their evidence\n")[2]
    rows = [
        row
        for row in re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
        if not row.startswith(("---", "claim", "article"))
    ]
    assert len(rows) > 25
    assert [row for row in rows if not TEST.search(row)] == []
