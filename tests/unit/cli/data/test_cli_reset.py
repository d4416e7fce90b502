"""`reset --image` as it is typed: said first, done by the daemon, or by a pass of its user's where none runs."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fixtures.command_line import Terminal
from fixtures.daemon import live_agent
from fixtures.daemon.fake_daemon import fake_daemon
from opanel_agent.cli import oneshot
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Fault
from opanel_agent.core.errors import Bug, Misconfigured, Storage, Unavailable
from opanel_agent.system.storage.paths import Paths

HERE: dict[str, Json] = {
    "forgotten": False,
    "license": True,
    "activated": True,
    "held": 2,
    "sent": 0,
    "unerased": 70,
    "receipts": 3,
    "entries": 9,
    "stays": ["/etc/opanel-agent/import.d/list.jwt"],
}
ERASE: list[Json] = [base64url(b"one"), base64url(b"two")]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with contextlib.chdir(tmp_path):
        yield Terminal(folder=tmp_path)


def test_it_says_first_and_then_what_is_still_to_be_done(terminal: Terminal) -> None:
    stays: list[Json] = [str(terminal.paths.license), str(terminal.paths.consent), "/etc/opanel-agent/import.d/x"]
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/reset", {**HERE, "stays": stays})
        daemon.done("/v1/reset", {**HERE, "stays": stays, "forgotten": True, "erase": ERASE})
        printed = terminal.type("reset", "--image")
        assert daemon.posts() == [("/v1/reset", {"preview": True}), ("/v1/reset", {"preview": False})]
    assert printed.status == 0
    for part in ("its seat stays taken", "requests held: 2", "70 reports", "receipts: 3", "9 entries"):
        assert part in printed.err
    assert "copies of what was sent" not in printed.err, "there are none"
    words = " ".join(printed.out.split())
    assert words.startswith("Erased.")
    for part in ("consent review", "activated separately", "import.d/x stays", "machine-id", "agent is stopped"):
        assert part in words
    assert Path("opanel-agent-erase.json").read_bytes() == b"one"
    assert Path("opanel-agent-erase-2.json").read_bytes() == b"two"
    assert Path("opanel-agent-erase.json").stat().st_mode & 0o777 == 0o600


def test_a_dry_run_only_says(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/reset", {**HERE, "license": False, "activated": False})
        printed = terminal.type("reset", "--image", "--dry-run", "--json")
        assert daemon.posts() == [("/v1/reset", {"preview": True})]
    assert printed.json()["result"] == {**HERE, "license": False, "activated": False, "erase": []}
    assert printed.err == ""


@pytest.mark.parametrize("argv", [("reset",), ("reset", "--dry-run"), ("reset", "image")])
def test_without_its_word_it_is_no_command(terminal: Terminal, argv: tuple[str, ...]) -> None:
    printed = terminal.type(*argv)
    assert printed.status == 64


def test_it_is_the_owners(terminal: Terminal) -> None:
    terminal.euid = terminal.paths.owner + 1
    assert terminal.type("reset", "--image").status == 77


def test_another_kind_of_silence_is_no_reason_to_go_behind_the_daemons_back(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/reset", {"code": "busy"}, status=503)
        printed = terminal.type("reset", "--image")
    assert printed.status == 69


def test_what_the_daemon_says_is_no_request_is_not_written(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/reset", HERE)
        daemon.done("/v1/reset", {**HERE, "forgotten": True, "erase": [7]})
        assert terminal.type("reset", "--image").status == 69
    assert not Path("opanel-agent-erase.json").exists()


@pytest.mark.slow
def test_with_the_daemon_stopped_a_process_of_the_agents_own_user_does_it() -> None:
    with live_agent.live_agent() as home:
        (home.config / "license.jws").write_text(home.issued.text)
        with home.daemon():
            assert home.license()["state"] == "active"
        assert (home.state / "bundle.jws").exists()
        typed = home.type("reset", "--image", "--json")
        assert (typed.status, typed.json["result"]["forgotten"]) == (0, True), typed.err
        left = {path.name for path in home.state.rglob("*") if path.is_file()}
        assert left <= {"roots.jws", "status-list.jwt", "advisories.jws", "state.json", "lock"}
        with home.daemon():
            assert home.license()["state"] == "active", "the file in the settings' folder is taken up anew"


def asked(intent: Mapping[str, Json], code: str, tmp_path: Path) -> Members:
    """`stand_in.run` with another interpreter than ours, which answers as it likes."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\ncat > {tmp_path}/asked\n{code}\n")
    script.chmod(0o755)
    paths = Paths(system=False, owner=0, config_dir=tmp_path, state_dir=tmp_path, runtime_dir=tmp_path)
    return oneshot.run(paths, intent, program=(str(script),))


def test_the_stand_in_asks_and_reads_a_frame(tmp_path: Path) -> None:
    members = asked({"intent": "reset"}, 'echo \'{"ok":true,"error":null,"result":{"a":1}}\'', tmp_path)
    assert members.integer("a") == 1
    assert json.loads((tmp_path / "asked").read_text()) == {"schema": 1, "intent": "reset"}


def test_the_stand_ins_error_is_the_commands(tmp_path: Path) -> None:
    error = json.dumps({"ok": False, "error": Storage(Fault.BUSY, "locked", file="x").to_json(), "result": None})
    with pytest.raises(Storage, match="locked"):
        asked({"intent": "reset"}, f"echo '{error}'", tmp_path)


@pytest.mark.parametrize("code", ["", "echo rot", "echo '{}'", "exit 1"])
def test_a_stand_in_that_says_nothing_is_our_fault(tmp_path: Path, code: str) -> None:
    with pytest.raises(Bug, match="job_frame"):
        asked({"intent": "reset"}, code, tmp_path)


def test_a_stand_in_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="job_timeout"):
        oneshot.run(
            Paths(system=False, owner=0, config_dir=tmp_path, state_dir=tmp_path, runtime_dir=tmp_path),
            {"intent": "reset"},
            program=("/bin/sleep", "9"),
            deadline_s=0.2,
        )


def test_a_system_without_the_agents_user_is_told(tmp_path: Path) -> None:
    paths = Paths(system=True, owner=0, config_dir=tmp_path, state_dir=tmp_path, runtime_dir=tmp_path)
    with pytest.raises(Misconfigured, match="agent_user_absent"):
        oneshot.run(paths, {"intent": "reset"}, user="nobody-is-called-so")


def test_a_world_without_any_way_says_that_the_daemon_is_not_there(terminal: Terminal) -> None:
    printed = terminal.type("reset", "--image")
    assert (printed.status, "not_running" in printed.err) == (69, True)
