"""What a page has people type is shell, and calls programs of this repository that are there, with options they have."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
PAGES: Final = sorted([*ROOT.glob("*.md"), ROOT / "packaging/README.md", *(ROOT / "docs").glob("*.md")])
FENCED: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"`([^`\n]+)`")
OWN: Final = ("opanel-agent", "opanel-authority")  # test_docs.py reads them against their own grammar
SYSTEM: Final = frozenset(
    {
        *(
            "apt",
            "apt-get",
            "cat",
            "cp",
            "curl",
            "dnf",
            "echo",
            "git",
            "grep",
            "install",
            "iptables",
            "journalctl",
            "kill",
            "less",
        ),
        *("ls", "man", "rm", "sha256sum", "sudo", "systemctl", "systemd-analyze", "tar", "touch", "usermod"),
    }
)
# Programs of this repository, by the first word that they are called by; /opt has the copy of an installed server.
SCRIPTS: Final = re.compile(r"(?:\./|/opt/opanel-agent/)?((?:tests|packaging)/[\w./]+|install\.sh)")
ASSIGNED: Final = re.compile(r"\w+=\S*")


def typed(text: str) -> Iterator[str]:
    """Every line that a person types: in blocks without a language, without its prompt, continued lines joined."""
    for language, block in FENCED.findall(text):
        if language in ("", "sh", "console"):
            for line in block.replace("\\\n", " ").split("\n"):
                prompted = re.match(r"[$#] (.*)", line)
                command = prompted[1] if prompted else line
                if prompted or program(command):
                    yield command


def program(line: str) -> str | None:
    """The program that a line calls, without `sudo` and variables in front; None where it calls none that is known here."""
    words = line.split()
    while words and (words[0] == "sudo" or ASSIGNED.fullmatch(words[0])):
        words = words[1:]
    if not words:
        return None
    known = words[0] in SYSTEM or words[0] in OWN or SCRIPTS.fullmatch(words[0])
    return words[0] if known else None


def usage(name: str) -> str:
    """The text in which a program tells its options: its source, or that of what it hands them on to."""
    return (ROOT / {"packaging/generate": "packaging/generators/command.py"}.get(name, name)).read_text("utf-8")


def own_calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each call of this repository's programs: its path, and the words behind it. Within a line one with options."""
    blocks, inline = typed(text), (code for code in CODE.findall(FENCED.sub("", text)) if " -" in code)
    for line in (*blocks, *inline):
        called = program(line)
        found = SCRIPTS.fullmatch(called) if called else None
        if found:
            first_command = re.split(r"[;&|>]", line.partition(called or "")[2])[0]
            yield found[1], shlex.split(first_command, comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_typed_is_shell_that_calls_known_programs(page: Path) -> None:
    lines = list(typed(page.read_text("utf-8")))
    assert [line for line in lines if program(line) is None] == []
    for line in lines:
        done = subprocess.run(["/bin/bash", "-n", "-c", line], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_programs_of_this_repository_are_there_and_have_these_options(page: Path) -> None:
    for name, words in own_calls(page.read_text("utf-8")):
        script = ROOT / name
        assert script.exists(), name
        assert os.access(script, os.X_OK), name
        text = usage(name)
        for option in (word for word in words if re.fullmatch(r"--?[a-z][\w-]*", word) and name != "tests/run"):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), (name, option)


def test_a_line_is_found_wherever_it_stands() -> None:
    block = "# systemctl stop x  # now\n$ nonsense\nsudo ./install.sh \\\n --demo\n drawing\n"
    text = f"see `./install.sh --dry-run`\n```\n{block}```\n"
    assert list(typed(text)) == ["systemctl stop x  # now", "nonsense", "sudo ./install.sh   --demo"]
    assert list(own_calls(text)) == [("install.sh", ["--demo"]), ("install.sh", ["--dry-run"])]
    assert [program(line) for line in typed(text)] == ["systemctl", None, "./install.sh"]
