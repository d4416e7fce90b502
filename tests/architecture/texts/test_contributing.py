"""What CONTRIBUTING.md tells to do is all there is to do: each list has every file that its example stands in."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from opanel_agent.core.commands import COMMANDS, Command
from opanel_agent.core.units import LANGUAGES

ROOT: Final = Path(__file__).resolve().parents[3]
TEXT: Final = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
AGENT: Final = "agent/opanel_agent/"
# By which an example is known in a file. A word that others use as well is looked for beside its own.
MARKS: Final = {
    "A command": r"license remove|license\.remove|\"license\", \"remove\"|/v1/remove\b|\"remove\": ",
    "A sentence": r"option_number",
    "A field of a report": r"virtualization|sanallaştırma",
    "A notice": r"2026-12-03",
    "A setting": r"panel_version_file",
    "A claim of a document": r"grace_days",
}
# The rest follows: generated (packaging/generate), told in prose, tested, or frozen with an older notice.
FOLLOWS: Final = re.compile(
    r"tests/|docs/(adr/|examples/|troubleshooting/|[\w-]+\.md)|[A-Z]+\.md|packaging/(share/|README\.md)|.*\.mo$|.*/notices/2026-12-0[12]/|.*/data_rights\.toml|.*/fields\.json"
)


def section(title: str) -> str:
    found = re.search(rf"^### {title}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def listed(title: str) -> list[str]:
    """The files of a section's list, from the repository's top."""
    names = re.findall(r"^- `([^`]+)`: \S", section(title), re.MULTILINE)
    return [name if (ROOT / name).exists() else AGENT + name for name in names]


@cache
def sources() -> dict[str, str]:
    """Every file in which something may have to be changed, with its text."""
    found: dict[str, str] = {}
    for top in ("agent/opanel_agent", "authority/opanel_authority", "config", "docs", "packaging", "systemd", "tests"):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found[path.relative_to(ROOT).as_posix()] = path.read_text("utf-8", errors="replace")
    return found | {name: (ROOT / name).read_text("utf-8") for name in ("install.sh", "README.md")}


def test_the_sections_are_those_that_have_a_mark() -> None:
    assert re.findall(r"^### (.*)$", TEXT, re.MULTILINE) == [*MARKS]


@pytest.mark.parametrize("title", MARKS)
def test_the_list_has_every_file_that_the_example_stands_in(title: str) -> None:
    named = {name for name, text in sources().items() if re.search(MARKS[title], text)}
    names = listed(title)
    assert len(names) == len(set(names)) > 0
    assert set(names) - named == set(), f"CONTRIBUTING.md, {title}: listed, and the example does not stand there"
    forgotten = {name for name in named - set(names) if not FOLLOWS.match(name)}
    assert forgotten == set(), f"CONTRIBUTING.md, {title}: not listed, and the example stands there"


@pytest.mark.parametrize("title", MARKS)
def test_the_example_is_tested(title: str) -> None:
    assert [
        name for name, text in sources().items() if name.startswith("tests/unit/") and re.search(MARKS[title], text)
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words))
def test_every_command_stands_where_the_list_says(command: Command) -> None:
    """In the table, in both catalogs, and its function in a file of its group; nowhere that the list has no line for."""
    words = ", ".join(map(json.dumps, command.words))
    mark = re.compile(rf"Command\(\s*\({words},?\)|\"help\.{'.'.join(command.words)}\"")
    named = {name for name, text in sources().items() if mark.search(text) and not FOLLOWS.match(name)}
    catalogs = {f"{AGENT}locale/{lang}/LC_MESSAGES/opanel-agent.po" for lang in LANGUAGES}
    assert named == {f"{AGENT}core/commands.py", *catalogs}
    module = command.handler.partition(":")[0].replace(".", "/")
    assert f"{AGENT}cli/{module}.py" in sources()


def test_a_command_that_asks_nobody_needs_no_process() -> None:
    named = {name for name, text in sources().items() if re.search(r"dnt explain|help\.dnt\.explain", text)}
    assert named
    assert not [name for name in named if name.startswith((f"{AGENT}daemon/", f"{AGENT}evaluate/"))]


def test_every_path_in_the_text_is_there() -> None:
    for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", TEXT):
        assert (ROOT / name).exists() or (ROOT / AGENT / name).exists() or name == ".env/", name
