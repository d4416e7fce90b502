"""Completion of bash, zsh and fish: what Tab offers is what the grammar takes, everywhere, and nothing is run for it."""

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

ROOT: Final = Path(__file__).resolve().parents[3]
SCRIPTS: Final = {"bash": ROOT / completion.BASH, "zsh": ROOT / completion.ZSH, "fish": ROOT / completion.FISH}
EVERYWHERE: Final = EVERYWHERE_FLAGS | EVERYWHERE_VALUED
# Each line is the words typed so far, the last being completed; "@" stands for an empty one. Each answer is a line.
HARNESSES: Final = {
    "bash": r"""
enable -n compopt 2>/dev/null
source "$1"
while IFS=' ' read -r -a COMP_WORDS; do
    [[ ${COMP_WORDS[-1]} != @ ]] || COMP_WORDS[-1]=''
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _opanel_agent
    printf '%s ' "${COMPREPLY[@]}"
    printf '\n'
done
""",
    "zsh": r"""
compadd() { shift; for each in "$@"; do [[ $each != ${words[CURRENT]}* ]] || print -rn -- "$each "; done }
compset() { words[CURRENT]=${words[CURRENT]#*=} }
_files() { for each in *(N); do [[ $each != ${words[CURRENT]}* ]] || print -rn -- "$each "; done }
words=(opanel-agent nowhere x); CURRENT=3
source "$1"
while IFS=' ' read -r -A words; do
    [[ ${words[-1]} != @ ]] || words[-1]=''
    CURRENT=${#words}
    _opanel_agent
    print
done
""",
    "fish": r"""
source $argv[1]
while read line
    echo (complete -C (string replace -r '@$' '' -- $line) | string replace -r '\t.*' '' | string trim -r -c /)
end
""",
}


def tab(lines: Iterable[str], folder: Path, shell: str = "bash") -> list[set[str]]:
    """What is offered at the end of each line. `folder` is where it is typed; no program can be found."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed (apt install {shell})")
    plain = {"bash": ["--norc", "-c"], "zsh": ["-f", "-c"], "fish": ["--no-config", "-c"]}[shell]
    name = [] if shell == "fish" else [shell]
    ran = subprocess.run(
        [program, *plain, HARNESSES[shell], *name, SCRIPTS[shell]],
        input="".join(f"opanel-agent {line}\n" for line in lines),
        env={"PATH": "", "HOME": str(folder.parent / "home")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr == ""
    return [set(line.split()) for line in ran.stdout.splitlines()]


def one(line: str, folder: Path, shell: str = "bash") -> set[str]:
    return tab([line], folder, shell)[0]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_word_of_every_command_is_offered_where_it_stands(tmp_path: Path, shell: str) -> None:
    paths = sorted({command.words[:length] for command in COMMANDS for length in range(len(command.words))})
    offered = tab((" ".join([*path, "@"]) for path in paths), tmp_path, shell)
    for path, words in zip(paths, offered, strict=True):
        below = [command.words for command in COMMANDS if command.words[: len(path)] == path]
        assert words == {command[len(path)] for command in below if len(command) > len(path)}


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_option_of_every_command_is_offered_and_no_other(tmp_path: Path, shell: str) -> None:
    offered = tab((" ".join([*command.words, "-"]) for command in COMMANDS), tmp_path, shell)
    for command, options in zip(COMMANDS, offered, strict=True):
        assert options == command.flags | command.valued | EVERYWHERE, command.words


def operands(command: Command) -> frozenset[str]:
    if "PURPOSE" in command.operand:
        return frozenset(CONSENT_BASED if command.words in completion.OF_CONSENT else Purpose)
    return frozenset(Right) if command.operand == "KIND" else frozenset()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_operand_that_is_a_known_word_is_offered(tmp_path: Path, shell: str) -> None:
    ends = [command for command in COMMANDS if command.words != ("data", "held") and "FILE" not in command.operand]
    offered = tab((" ".join([*command.words, "@"]) for command in ends), tmp_path, shell)
    for command, words in zip(ends, offered, strict=True):
        assert words == operands(command), command.words
    assert sum(map(bool, offered)) == 9


@pytest.mark.parametrize("shell", SCRIPTS)
def test_what_is_offered_is_understood(tmp_path: Path, shell: str) -> None:
    for command, words in zip(
        COMMANDS, tab((" ".join([*command.words, "@"]) for command in COMMANDS), tmp_path, shell), strict=True
    ):
        for word in words:
            found, rest = find(COMMANDS, [*command.words, word])
            assert found is not None
            read(found, [*rest, "--help"])


@pytest.mark.parametrize("shell", SCRIPTS)
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
def test_what_tab_offers(tmp_path: Path, line: str, offered: set[str], shell: str) -> None:
    if shell == "fish" and line == "consent deny -- -":
        pytest.skip("fish takes the hyphen for an underscore")
    if shell != "bash" and " = " in f"{line} ":
        pytest.skip("only bash parts --lang=t")
    assert one(line, tmp_path, shell) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_value_behind_an_equals_sign_is_offered(tmp_path: Path, shell: str) -> None:
    assert {each.removeprefix("--lang=") for each in one("status --lang=t", tmp_path, shell)} == {"tr"}


@pytest.mark.parametrize("shell", SCRIPTS)
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
def test_files_are_offered_where_one_is_taken(tmp_path: Path, line: str, shell: str) -> None:
    (tmp_path / "bundle.jws").touch()
    (tmp_path / "folder").mkdir()
    assert one(line, tmp_path, shell) == {"bundle.jws", "folder"}
    assert one(line.replace("@", "bu"), tmp_path, shell) == {"bundle.jws"}


def test_the_script_is_clean() -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (apt install shellcheck)")
    ran = subprocess.run([shellcheck, SCRIPTS["bash"]], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")
