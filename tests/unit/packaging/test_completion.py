"""Bash completion: what Tab offers is what the grammar takes, everywhere, and nothing is run for it."""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from opanel_agent.cli.parser import find, read
from opanel_agent.core.commands import COMMANDS, EVERYWHERE_FLAGS, EVERYWHERE_VALUED, Command
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.documents.signed_request import Right

sys.path.insert(0, str(Path(__file__).parents[3] / "packaging"))
from generators import completion  # found by that folder

SCRIPT: Final = Path(__file__).resolve().parents[3] / completion.COMPLETION
BASH: Final = shutil.which("bash")
EVERYWHERE: Final = EVERYWHERE_FLAGS | EVERYWHERE_VALUED
# Each line is the words typed so far, the last being completed; "@" stands for an empty one.
HARNESS: Final = r"""
enable -n compopt 2>/dev/null
source "$1"
while IFS=' ' read -r -a COMP_WORDS; do
    [[ ${COMP_WORDS[-1]} != @ ]] || COMP_WORDS[-1]=''
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _opanel_agent
    printf '%s ' "${COMPREPLY[@]}"
    printf '\n'
done
"""


def tab(lines: Iterable[str], folder: Path) -> list[set[str]]:
    """What is offered at the end of each line. `folder` is where it is typed; no program can be found."""
    if BASH is None:
        pytest.skip("bash is not installed")
    ran = subprocess.run(
        [BASH, "--norc", "-c", HARNESS, "bash", SCRIPT],
        input="".join(f"opanel-agent {line}\n" for line in lines),
        env={"PATH": ""},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr == ""
    return [set(line.split()) for line in ran.stdout.splitlines()]


def one(line: str, folder: Path) -> set[str]:
    return tab([line], folder)[0]


def test_every_word_of_every_command_is_offered_where_it_stands(tmp_path: Path) -> None:
    paths = sorted({command.words[:length] for command in COMMANDS for length in range(len(command.words))})
    offered = tab((" ".join([*path, "@"]) for path in paths), tmp_path)
    for path, words in zip(paths, offered, strict=True):
        below = [command.words for command in COMMANDS if command.words[: len(path)] == path]
        assert words == {command[len(path)] for command in below if len(command) > len(path)}


def test_every_option_of_every_command_is_offered_and_no_other(tmp_path: Path) -> None:
    offered = tab((" ".join([*command.words, "-"]) for command in COMMANDS), tmp_path)
    for command, options in zip(COMMANDS, offered, strict=True):
        assert options == command.flags | command.valued | EVERYWHERE, command.words


def operands(command: Command) -> frozenset[str]:
    if command.operand == "PURPOSE":
        return frozenset(Purpose if command.words == ("consent", "why") else CONSENT_BASED)
    return frozenset(Right) if command.operand == "KIND" else frozenset()


def test_every_operand_that_is_a_known_word_is_offered(tmp_path: Path) -> None:
    ends = [command for command in COMMANDS if command.words != ("data", "held") and "FILE" not in command.operand]
    offered = tab((" ".join([*command.words, "@"]) for command in ends), tmp_path)
    for command, words in zip(ends, offered, strict=True):
        assert words == operands(command), command.words
    assert sum(map(bool, offered)) == 6


def test_what_is_offered_is_understood(tmp_path: Path) -> None:
    for command, words in zip(
        COMMANDS, tab((" ".join([*command.words, "@"]) for command in COMMANDS), tmp_path), strict=True
    ):
        for word in words:
            found, rest = find(COMMANDS, [*command.words, word])
            assert found is not None
            read(found, [*rest, "--help"])


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("st", {"status"}),
        ("con", {"consent"}),
        ("@", {command.words[0] for command in COMMANDS}),
        ("consent de", {"deny"}),
        ("nonsense @", set()),
        ("-", EVERYWHERE | {"--version"}),
        ("--lang @", {"tr", "en"}),
        ("--lang tr st", {"status"}),
        ("status --lang t", {"tr"}),
        ("status --lang = t", {"tr"}),  # as bash parts --lang=t
        ("status --lang =", {"tr", "en"}),
        ("status --lang = tr --c", {"--check"}),
        ("--json consent al", {"allow"}),
        ("license activate --wait @", set()),
        ("license activate --wait 5 -", {"--wait", "-o"} | EVERYWHERE),
        ("consent deny usage_statistics cr", {"crash_reports"}),
        ("consent deny -- -", set()),
        ("data request er", {"erase"}),
        ("data request erase @", set()),
        ("data request --text words ob", {"object"}),
        ("data held @", {"show", "drop", "send"}),
        ("data held show @", set()),
        ("data preview us", {"usage_statistics"}),
        ("status @", set()),
    ],
)
def test_what_tab_offers(tmp_path: Path, line: str, offered: set[str]) -> None:
    assert one(line, tmp_path) == offered


@pytest.mark.parametrize(
    "line",
    [
        "license install @",
        "license install - @",
        "license verify @",
        "verify @",
        "consent check @",
        "setup --preseed @",
        "data export -o @",
        "license activate -o @",
    ],
)
def test_files_are_offered_where_one_is_taken(tmp_path: Path, line: str) -> None:
    (tmp_path / "bundle.jws").touch()
    (tmp_path / "folder").mkdir()
    assert one(line, tmp_path) == {"bundle.jws", "folder"}
    assert one(line.replace("@", "bu"), tmp_path) == {"bundle.jws"}


def test_the_script_is_clean() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (apt install shellcheck)")
    ran = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")
