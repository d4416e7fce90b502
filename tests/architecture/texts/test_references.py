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
