"""What a shell says against being tracked reaches a command behind sudo, which drops it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import opanel_agent
from fixtures.command_line import environment
from opanel_agent.system import invoker

AGENT = Path(opanel_agent.__file__).parent.parent
ROOT = Path(__file__).resolve().parents[3]
# As sudo does: waits for the command, which gets other variables than it has itself.
SUDO = "import json, subprocess, sys; sys.exit(subprocess.run(sys.argv[2:], env=json.loads(sys.argv[1])).returncode)"
SHELL = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]


def behind(shell: Mapping[str, str], command: Mapping[str, str], *argv: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command with the variables `command`, below a process that has those of `shell`."""
    return subprocess.run(
        [sys.executable, "-c", SUDO, json.dumps({**command}), *argv],
        env={**shell},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def explained(folder: Path, shell: Mapping[str, str], *between: str, **command: str) -> list[Any]:
    env = environment(folder, PYTHONPATH=str(AGENT))
    argv = [*between, sys.executable, "-m", "opanel_agent", "dnt", "explain", "--json"]
    ran = behind({**env, **shell}, {**env, **command}, *argv)
    assert ran.returncode == 0, ran.stderr
    signals: list[Any] = json.loads(ran.stdout)["result"]["do_not_track"]
    return signals


@pytest.mark.parametrize("mark", ["SUDO_UID", "DOAS_USER", "PKEXEC_UID"])
@pytest.mark.parametrize("between", [(), SHELL], ids=["at once", "a script between"])
def test_what_sudo_dropped_holds_for_the_command(tmp_path: Path, mark: str, between: list[str]) -> None:
    (signal,) = explained(tmp_path, {"DO_NOT_TRACK": "1"}, *between, **{mark: "1000"})
    assert (signal["what"], signal["holds"]) == ("DO_NOT_TRACK=1", "shell")


def test_what_the_command_itself_was_given_counts_more(tmp_path: Path) -> None:
    assert explained(tmp_path, {"DO_NOT_TRACK": "1"}, SUDO_UID="1000", DO_NOT_TRACK="0") == []


def test_without_sudo_a_command_has_its_own_variables(tmp_path: Path) -> None:
    assert explained(tmp_path, {"DO_NOT_TRACK": "1"}) == []


def test_nothing_but_opt_outs_is_taken(tmp_path: Path) -> None:
    assert explained(tmp_path, {"TOKEN": "x"}, SUDO_UID="1000") == []


def test_what_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert invoker.dropped_opt_outs({"SUDO_UID": "1"}, os.getpid(), tmp_path) == {}
    (tmp_path / "7").mkdir()
    (tmp_path / "7/environ").write_bytes(b"SUDO_UID=1\0")
    (tmp_path / "7/stat").write_bytes(b"7 (a) b) S 7 1")
    assert invoker.dropped_opt_outs({"SUDO_UID": "1"}, 7, tmp_path) == {}  # a circle


@pytest.mark.parametrize(
    ("shell", "command", "untracked"),
    [
        ({}, {}, False),
        ({}, {"DO_NOT_TRACK": "1"}, True),
        ({}, {"DO_NOT_TRACK": "0", "do_not_track": ""}, False),
        ({}, {"opanel_agent_do_not_track": "yes"}, True),
        ({"DO_NOT_TRACK": "1"}, {}, False),
        ({"DO_NOT_TRACK": "1"}, {"SUDO_UID": "1000"}, True),
        ({"DO_NOT_TRACK": "0"}, {"SUDO_UID": "1000"}, False),
    ],
)
def test_the_installer_sees_the_same(shell: dict[str, str], command: dict[str, str], *, untracked: bool) -> None:
    program = "import sys; from installer.opt_outs import is_untracked; sys.exit(not is_untracked())"
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "packaging")}
    ran = behind({**path, **shell}, {**path, **command}, "/bin/sh", "-c", f"'{sys.executable}' -c '{program}'; exit $?")
    assert (ran.returncode == 0, ran.stderr) == (untracked, "")
