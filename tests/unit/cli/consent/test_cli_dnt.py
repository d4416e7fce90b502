"""`dnt` and `offline`: a file's existence, durable before anything else, and what is under way is cut."""

from pathlib import Path

import pytest

from fixtures import signing
from fixtures.command_line import Terminal
from fixtures.daemon.fake_daemon import CannedReply, answer, fake_daemon, problem
from fixtures.simulated.memory_files import MemoryFiles, Stopped
from fixtures.simulated.simulated_agent import FakeOptOuts
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault
from opanel_agent.core.consent.gate import Signal, SignalKind, Signals
from opanel_agent.core.consent.opt_outs import PROCESS_ENVIRONMENT
from opanel_agent.core.errors import Storage
from opanel_agent.daemon.jobs.job_queue import stopping
from opanel_agent.system.consent.opt_outs import LocalOptOuts


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(folder=tmp_path)
    terminal.optouts = LocalOptOuts(terminal.files, terminal.paths, {})
    return terminal


def file_of(terminal: Terminal, name: str) -> Path:
    return {"dnt": terminal.paths.do_not_track, "offline": terminal.paths.offline}[name]


@pytest.mark.parametrize("name", ["dnt", "offline"])
def test_on_and_off_without_a_daemon(terminal: Terminal, name: str) -> None:
    on = terminal.type(name, "on")
    assert on.status == 0
    assert str(file_of(terminal, name)) in on.out
    assert file_of(terminal, name).read_bytes() == b""
    assert file_of(terminal, name).stat().st_mode & 0o777 == 0o644
    assert terminal.type(name, "on", "--json").json()["result"] == {
        name: True,
        "file": str(file_of(terminal, name)),
        "cut": True,
        "pending": None,
        "unsaved": [],
    }
    off = terminal.type(name, "off")
    assert off.status == 0
    assert not file_of(terminal, name).exists()
    assert terminal.type(name, "off").status == 0


@pytest.mark.parametrize("name", ["dnt", "offline"])
def test_on_cuts_what_is_under_way_after_the_file_is_there(terminal: Terminal, name: str) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/narrowed", None)
        assert terminal.type(name, "on").status == 0
        assert daemon.posts() == [("/v1/narrowed", b"")]
        terminal.type(name, "off")
        assert daemon.posts() == [("/v1/narrowed", b"")] * 2


def test_on_is_in_force_even_where_the_cut_failed_and_says_that_it_did(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says_raw("/v1/narrowed", CannedReply(body=b"?"))
        printed = terminal.type("dnt", "on")
        assert printed.status == 69
        assert "Do-not-track is on" in printed.out
        assert "may not have been stopped: cannot understand" in printed.err
        assert terminal.paths.do_not_track.exists()
        daemon.replies.clear()
        daemon.says_raw("/v1/narrowed", problem(403, "no_permission"))
        envelope = terminal.type("offline", "on", "--json")
    assert envelope.status == 77
    assert envelope.json()["result"]["cut"] is False
    assert [warning["code"] for warning in envelope.json()["warnings"]] == ["no_permission"]


@pytest.mark.parametrize("command", [("dnt", "on"), ("offline", "on"), ("consent", "deny", "--all")])
def test_what_the_agent_could_not_do_yet_is_said_and_takes_nothing_back(
    terminal: Terminal, command: tuple[str, ...]
) -> None:
    """It took the request, so nothing is under way any more, whatever became of its own pass."""
    full = Storage(Fault.DISK_FULL, "disk_full", file="/var/lib/opanel-agent/lock").to_json()
    for ok, error, code in ((False, full, "disk_full"), (None, None, "not_yet")):
        with fake_daemon(terminal.paths.socket) as daemon:
            daemon.says("/v1/narrowed", {"schema": 1, "ok": ok, "error": error, "result": None, "license": None})
            printed = terminal.type(*command)
            as_json = terminal.type(*command, "--json").json()
        assert printed.status == 0
        assert "may not have been stopped" not in printed.err
        assert "the remaining steps follow later: " in printed.err
        assert as_json["result"]["cut"] is True
        assert as_json["result"]["pending"] == code
    consent: Json = {"purged": [], "gone": [], "ready": None, "unsaved": ["ledger.jsonl", "state.json"]}
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/narrowed", {"consent": consent})
        printed = terminal.type(*command)
        as_json = terminal.type(*command, "--json").json()
    assert printed.status == 0
    assert "could not be written, and each evaluation tries again: ledger.jsonl, state.json" in printed.err
    assert as_json["result"]["unsaved"] == ["ledger.jsonl", "state.json"]
    assert [warning["code"] for warning in as_json["warnings"]] == ["state_not_saved"]


@pytest.mark.parametrize("command", [("dnt", "on"), ("offline", "on"), ("consent", "deny", "--all")])
def test_an_agent_that_is_ending_has_nothing_under_way(terminal: Terminal, command: tuple[str, ...]) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.failed("/v1/narrowed", stopping().to_json())
        printed = terminal.type(*command, "--json")
    assert printed.status == 0
    assert (printed.json()["result"]["cut"], printed.json()["warnings"]) == (True, [])


def test_off_says_what_still_denies_and_exits_1(terminal: Terminal) -> None:
    terminal.type("dnt", "on")
    environment = terminal.paths.etc / "environment"
    environment.parent.mkdir()
    environment.write_text("PATH=/bin\n\nDO_NOT_TRACK=1\n")
    printed = terminal.type("dnt", "off")
    assert printed.status == 1
    assert f"  DO_NOT_TRACK=1 in {environment}, line 3" in printed.out
    assert not terminal.paths.do_not_track.exists()
    result = terminal.type("dnt", "off", "--json").json()["result"]
    assert result == {
        "dnt": True,
        "signals": [{"what": "DO_NOT_TRACK=1", "place": str(environment), "line": 3, "holds": "file"}],
    }


def test_off_and_explain_name_the_consent_files_that_still_ask_not_to_be_tracked(terminal: Terminal) -> None:
    consent, policy = terminal.paths.consent, terminal.paths.consent_dir / "50-fleet.toml"
    policy.parent.mkdir(parents=True)
    consent.write_text('schema = 1\nnotice = "2026-12-03"\ndo_not_track = true\n')
    policy.write_text("schema = 1\n# the fleet's\n\ndo_not_track = true\n")
    for file in (consent, policy):
        file.chmod(0o644)
    for printed in (terminal.type("dnt", "off"), terminal.type("dnt", "explain")):
        assert f"  do_not_track = true in {consent}, line 3" in printed.out
        assert f"  do_not_track = true in {policy}, line 4" in printed.out
    assert terminal.type("dnt", "off").status == 1
    consent.write_text('schema = 1\nnotice = "2026-12-03"\n')
    policy.unlink()
    assert terminal.type("dnt", "off").status == 0


@pytest.mark.parametrize("name", ["dnt", "offline"])
@pytest.mark.parametrize("word", ["on", "off"])
def test_another_user_changes_nothing(terminal: Terminal, name: str, word: str) -> None:
    terminal.euid = terminal.paths.owner + 1
    printed = terminal.type(name, word)
    assert printed.status == 77
    assert "code: no_permission (need_owner)" in printed.err
    assert not terminal.paths.config_dir.exists()


def test_on_is_acknowledged_only_when_it_would_survive_a_crash(tmp_path: Path) -> None:
    """Stopped at each step of the write: what was printed as on is on after the crash."""
    for step in range(40):
        files = MemoryFiles(uid=tmp_path.stat().st_uid)
        terminal = Terminal(folder=tmp_path, files=files, optouts=FakeOptOuts())
        files.stop_at(step)
        try:
            printed = terminal.type("dnt", "on").out
        except Stopped:
            printed = ""
        files.crash()
        assert files.exists(terminal.paths.do_not_track) or not printed
    assert printed


def test_explain_names_every_signal_and_what_it_does_to_each_purpose(terminal: Terminal) -> None:
    found = Signal(kind=SignalKind.ENVIRONMENT, what="DO_NOT_TRACK=1", place="/etc/environment", line=3)
    terminal.optouts = FakeOptOuts()
    terminal.optouts.signals = Signals(do_not_track=(found,), offline=(found,))
    printed = terminal.type("dnt", "explain")
    assert printed.status == 0
    assert printed.out.count("  DO_NOT_TRACK=1 in /etc/environment, line 3") == 2
    assert "  license renewal: not sent" in printed.out
    assert "  license activation: written to a file" in printed.out
    result = terminal.type("dnt", "explain", "--json").json()["result"]
    assert result["do_not_track"] == [
        {"what": "DO_NOT_TRACK=1", "place": "/etc/environment", "line": 3, "holds": "file"}
    ]
    assert result["purposes"]["license_status"] == "goes_on"


def test_explain_without_any_signal(terminal: Terminal) -> None:
    out = terminal.type("dnt", "explain").out
    assert "Do-not-track is not in force." in out
    assert "Offline" not in out


# of the shell and of the daemon


def answered_by_daemon(*signals: Json) -> Json:
    answered = answer()
    consent = answered["consent"]
    assert isinstance(consent, dict)
    return answered | {"consent": consent | {"do_not_track": list(signals)}}


DAEMON: Json = {"what": "DO_NOT_TRACK=1", "place": PROCESS_ENVIRONMENT, "line": None}


def test_what_only_this_shell_has_is_said_to_hold_here_with_the_cure(terminal: Terminal) -> None:
    terminal.environ = {"DO_NOT_TRACK": "1"}
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answered_by_daemon())
        for command in (("dnt", "explain"), ("consent", "show"), ("consent", "why", "license_status"), ("status",)):
            printed = terminal.type(*command)
            assert printed.status == 0
            assert "Do-not-track is in force" not in printed.out
            assert "do-not-track:" not in printed.out
            assert "DO_NOT_TRACK=1 is set only in this shell" in printed.err
            assert "opanel-agent dnt on" in printed.err
        explained = terminal.type("dnt", "explain", "--json").json()
    assert [each["holds"] for each in explained["result"]["do_not_track"]] == ["shell"]
    assert [warning["code"] for warning in explained["warnings"]] == ["opt_out"]


@pytest.mark.parametrize("purpose", ["license_activation", "data_rights"])
def test_what_only_commands_send_is_denied_where_the_shell_that_types_them_says_so(
    terminal: Terminal, purpose: str
) -> None:
    terminal.environ = {"DO_NOT_TRACK": "1"}
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answered_by_daemon())
        printed = terminal.type("consent", "why", purpose)
        result = terminal.type("consent", "why", purpose, "--json").json()["result"]
        terminal.environ = {}
        assert terminal.type("consent", "why", purpose).status == 0
    assert printed.status == 1
    assert "DO_NOT_TRACK=1 in this shell’s environment" in printed.out
    assert [reason["reason"] for reason in result["reasons"]] == ["opt_out"]


def test_what_the_daemon_has_is_in_force_whatever_this_shell_has(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answered_by_daemon(DAEMON))
        printed = terminal.type("dnt", "explain")
        assert "Do-not-track is in force." in printed.out
        assert "DO_NOT_TRACK=1 in the daemon’s environment" in printed.out
        assert "do-not-track: DO_NOT_TRACK=1 in the daemon’s" in terminal.type("status").out
        terminal.environ = {"OPANEL_AGENT_DO_NOT_TRACK": "yes"}
        both = terminal.type("dnt", "explain")
    assert both.err == ""
    assert "OPANEL_AGENT_DO_NOT_TRACK=yes in this shell’s environment" in both.out


@pytest.mark.parametrize(
    "command",
    [("license", "refresh"), ("license", "remove"), ("consent", "deny", "--all"), ("data", "purge"), ("data", "sent")],
)
def test_a_command_passes_the_opt_outs_of_its_shell_along(terminal: Terminal, command: tuple[str, ...]) -> None:
    terminal.environ = {"DO_NOT_TRACK": "1", "OPANEL_AGENT_DO_NOT_TRACK": "0"}
    with fake_daemon(terminal.paths.socket) as daemon:
        terminal.type(*command)
        asked = [body for _, body in daemon.posts()]
    assert asked
    assert all(body["do_not_track"] == ["DO_NOT_TRACK=1"] for body in asked)


def test_off_names_the_shell_that_still_asks(terminal: Terminal) -> None:
    terminal.environ = {"DO_NOT_TRACK": "1"}
    printed = terminal.type("dnt", "off")
    assert printed.status == 1
    assert "DO_NOT_TRACK=1 in this shell’s environment" in printed.out


@pytest.mark.parametrize(
    "command", [("dnt", "on"), ("offline", "on"), ("consent", "deny", "--all"), ("license", "install", "FILE")]
)
def test_what_a_killed_command_left_in_the_folder_is_swept_by_the_next_one(
    terminal: Terminal, command: tuple[str, ...], tmp_path: Path
) -> None:
    config_dir, imports = terminal.paths.config_dir, terminal.paths.import_dir
    terminal.trust()
    imports.mkdir(parents=True)
    left = [config_dir / ".consent.toml.4711.opanel-tmp", imports / ".0123.jws.4711.opanel-tmp"]
    for path in left:
        path.write_bytes(b"half a file")
    document = tmp_path / "list.jwt"
    document.write_bytes(signing.status_list({}))
    terminal.type(*(str(document) if word == "FILE" else word for word in command))
    assert [path for path in left if path.exists()] == []


def test_a_leftover_that_cannot_be_removed_keeps_no_opt_out_from_being_written(terminal: Terminal) -> None:
    files = MemoryFiles(uid=terminal.paths.owner)
    terminal.files = files

    def fault(step: str, path: Path) -> None:
        if step == "sweep":
            raise Storage(Fault.IO_FAILED, "remove_failed", file=str(path))

    files.fault = fault
    assert terminal.type("dnt", "on").status == 0
    assert files.exists(terminal.paths.do_not_track)
