"""`consent`: what stands, why, and how an administrator's word gets into the file: durably first, then the agent is told."""

from pathlib import Path
from typing import Any

import pytest

from fixtures.command_line import SetSignals, Terminal
from fixtures.daemon.fake_daemon import CannedReply, answer, fake_daemon
from fixtures.data.written_consents import NOTICE, policy, write
from fixtures.simulated.memory_files import MemoryFiles, Stopped
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.consent.consent_file import parse
from opanel_agent.core.consent.gate import Signal, SignalKind, Signals
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.units import LANGUAGES, Language

USAGE, CRASH = Purpose.USAGE_STATISTICS, Purpose.CRASH_REPORTS


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(folder=tmp_path)
    terminal.paths.config_dir.mkdir(mode=0o755)
    return terminal


def answers(terminal: Terminal) -> dict[Purpose, bool]:
    return {purpose: choice.allow for purpose, choice in parse(terminal.paths.consent.read_bytes()).purposes.items()}


def signal(place: str, line: int | None = None) -> Signal:
    return Signal(kind=SignalKind.ENVIRONMENT, what="DO_NOT_TRACK=1", place=place, line=line)


# allow


def test_allow_changes_one_literal_and_says_how_long_a_report_waits(terminal: Terminal) -> None:
    before = write(terminal)
    printed = terminal.type("consent", "allow", "usage_statistics")
    assert printed.status == 0
    assert terminal.paths.consent.read_bytes() == before.replace(b"allow = false", b"allow = true", 1)
    assert terminal.paths.consent.stat().st_mode & 0o777 == 0o644
    assert "Allowed: usage statistics" in printed.out
    assert "not running: this takes effect at its next start, and nothing is sent until then" in printed.out
    assert "is held for 24 hours first" in printed.out


def test_allow_says_that_a_report_does_not_wait_where_no_hold_is_set(terminal: Terminal) -> None:
    before = write(terminal)
    terminal.paths.consent.write_bytes(before.replace(b'hold = "24h"', b'hold = "0h"'))
    assert "Finished reports are not held" in terminal.type("consent", "allow", "usage_statistics").out
    assert (
        "usage_statistics     consent.toml, line 5  yes  reports are not held" in terminal.type("consent", "show").out
    )


def test_allow_without_a_file_writes_a_fresh_one_that_allows_nothing_else(terminal: Terminal) -> None:
    assert terminal.type("consent", "allow", "crash_reports").status == 0
    file = parse(terminal.paths.consent.read_bytes())
    assert file.notice == NOTICE
    assert answers(terminal) == {USAGE: False, CRASH: True}
    assert terminal.paths.consent.stat().st_mode & 0o777 == 0o644


def test_allow_tells_the_agent_after_the_file_is_there(terminal: Terminal) -> None:
    write(terminal)
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/narrowed", {"consent": {"purged": [], "gone": [], "ready": None}})
        daemon.says("/v1/answer", answer())
        printed = terminal.type("consent", "allow", "usage_statistics", "crash_reports", "--json")
        assert ("/v1/narrowed", b"") in daemon.posts()
    result = printed.json()["result"]
    assert result["allowed"] == ["usage_statistics", "crash_reports"]
    assert result["running"]
    assert result["denied"] == {}


def test_allow_says_what_still_denies_with_its_place(terminal: Terminal) -> None:
    write(terminal)
    terminal.optouts = SetSignals()
    terminal.optouts.signals = Signals(do_not_track=(signal("/etc/environment", 3),))
    file = policy(terminal, "schema = 1\n[purposes.usage_statistics]\nallow = false\n")
    printed = terminal.type("consent", "allow", "usage_statistics")
    assert printed.status == 0
    assert "nothing is sent yet for usage statistics" in printed.out
    assert "DO_NOT_TRACK=1 in /etc/environment, line 3" in printed.out
    assert f"allow = false in {file}, line 3" in printed.out
    assert answers(terminal)[USAGE]


def test_allow_to_a_newer_notice_takes_no_other_grant_along(terminal: Terminal) -> None:
    before = write(terminal, usage="true", notice="2020-01-01")
    printed = terminal.type("consent", "allow", "crash_reports")
    assert printed.status == 78
    assert "code: notice_changed (consent_older)" in printed.err
    assert "usage_statistics" in printed.err
    assert terminal.paths.consent.read_bytes() == before
    assert terminal.type("consent", "allow", "crash_reports", "usage_statistics").status == 0
    assert parse(terminal.paths.consent.read_bytes()).notice == NOTICE


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_file_that_one_literal_does_not_change_is_for_a_person_to_type(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    text = f'schema = 1\nnotice = "{NOTICE}"\n'
    terminal.paths.consent.write_text(text)
    terminal.paths.consent.chmod(0o644)
    printed = terminal.type("consent", "allow", "usage_statistics")
    assert printed.status == 78
    assert "[purposes.usage_statistics]" in printed.err
    assert "allow = true" in printed.err
    assert str(terminal.paths.consent) in printed.err
    assert terminal.paths.consent.read_text() == text


def test_allow_writes_over_no_refused_file(terminal: Terminal) -> None:
    before = write(terminal, usage='"true"')
    printed = terminal.type("consent", "allow", "usage_statistics")
    assert printed.status == 78
    assert "line: 5" in printed.err
    assert terminal.paths.consent.read_bytes() == before


@pytest.mark.parametrize("lang", LANGUAGES)
def test_deny_holds_beside_a_refused_file_that_it_leaves_as_it_is(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    before = write(terminal, usage='"true"')
    printed = terminal.type("consent", "deny", "usage_statistics")
    assert printed.status == 0
    assert str(terminal.paths.consent) in printed.out
    assert "5" in printed.err
    assert terminal.paths.consent.read_bytes() == before
    write(terminal, usage="true")
    why = terminal.type("consent", "why", "usage_statistics", "--json").json()["result"]
    assert [each["reason"] for each in why["reasons"]] == ["withdrawn"]


def test_deny_holds_where_no_one_literal_of_the_file_can_be_changed(terminal: Terminal) -> None:
    text = f'schema = 1\nnotice = "{NOTICE}"\npurposes.usage_statistics = {{ allow = true }}\n'
    terminal.paths.consent.write_text(text)
    terminal.paths.consent.chmod(0o644)
    printed = terminal.type("consent", "deny", "usage_statistics")
    why = terminal.type("consent", "why", "usage_statistics", "--json").json()["result"]
    assert (printed.status, why["permitted"]) == (0, False)


@pytest.mark.parametrize("argv", [["allow", "usage_statistics"], ["deny", "--all"], ["withdraw", "--all"]])
def test_another_user_answers_for_nobody(terminal: Terminal, argv: list[str]) -> None:
    terminal.euid = terminal.paths.owner + 1
    assert terminal.type("consent", *argv).status == 77
    assert not terminal.paths.consent.exists()


@pytest.mark.parametrize(
    ("argv", "detail"),
    [
        (["allow", "everything"], "purpose_unknown"),
        (["allow", "license_status"], "purpose_no_consent"),
        (["allow"], "operand_missing"),
        (["deny", "license_status"], "purpose_no_consent"),
        (["deny"], "purposes_or_all"),
        (["deny", "--all", "usage_statistics"], "purposes_or_all"),
        (["why", "everything"], "purpose_unknown"),
        (["why"], "operand_missing"),
    ],
)
def test_what_is_typed_wrongly_is_64(terminal: Terminal, argv: list[str], detail: str) -> None:
    printed = terminal.type("consent", *argv)
    assert printed.status == 64
    assert f"({detail})" in printed.err


# deny


@pytest.mark.parametrize("word", ["deny", "withdraw"])
def test_deny_takes_back_and_names_what_was_purged_and_what_had_gone(terminal: Terminal, word: str) -> None:
    write(terminal, usage="true", crash="true")
    consent: Json = {
        "purged": ["report-0011223344556677"],
        "gone": [
            {"id": f"report-8899aabbccddee{end}", "purpose": "usage_statistics", "at": 1_795_000_000, "stage": stage}
            for end, stage in (("f0", "answered"), ("f1", "sent"), ("f2", "attempted"), ("f3", "of tomorrow"))
        ],
        "ready": "/var/lib/opanel-agent/ready/erase-1.json",
    }
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/narrowed", {"consent": consent})
        printed = terminal.type("consent", word, "--all")
        as_json = terminal.type("consent", word, "--all", "--json").json()["result"]
    assert printed.status == 0
    assert answers(terminal) == {USAGE: False, CRASH: False}
    assert "deleted before it was sent: report-0011223344556677" in printed.out
    assert "already sent (and answered): report-8899aabbccddeef0, 2026-" in printed.out
    assert "already sent (not accepted): report-8899aabbccddeef1, 2026-" in printed.out
    assert "possibly sent (attempted, no reply): report-8899aabbccddeef2, 2026-" in printed.out
    assert "possibly sent (attempted, no reply): report-8899aabbccddeef3, 2026-" in printed.out
    assert "is ready: /var/lib/opanel-agent/ready/erase-1.json" in printed.out
    assert as_json["denied"] == [*CONSENT_BASED]
    assert [each["stage"] for each in as_json["gone"]] == ["answered", "sent", "attempted", "attempted"]
    assert as_json["gone"][0] == {"id": "report-8899aabbccddeef0", "at": 1_795_000_000, "stage": "answered"}
    assert as_json["cut"]


def test_the_agent_is_told_when_the_file_already_says_no(terminal: Terminal) -> None:
    """What it then lets out, it lets out under the new word."""
    write(terminal, usage="true", crash="true")
    seen: list[dict[Purpose, bool]] = []

    class Watched(dict[str, list[CannedReply]]):
        def get(self, path: str, _: Any = None) -> list[CannedReply]:
            seen.append(answers(terminal))
            return self[path]

    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/narrowed", {"consent": {}})
        daemon.replies = Watched(daemon.replies)
        terminal.type("consent", "deny", "--all")
    assert seen == [{USAGE: False, CRASH: False}]


def test_deny_of_one_leaves_the_other(terminal: Terminal) -> None:
    write(terminal, usage="true", crash="true")
    assert terminal.type("consent", "deny", "usage_statistics").status == 0
    assert answers(terminal) == {USAGE: False, CRASH: True}


def test_deny_without_a_file_is_an_answer(terminal: Terminal) -> None:
    assert terminal.type("consent", "deny", "--all").status == 0
    assert answers(terminal) == {USAGE: False, CRASH: False}


def test_deny_is_in_force_even_where_the_cut_failed_and_says_that_it_did(terminal: Terminal) -> None:
    write(terminal, usage="true")
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says_raw("/v1/narrowed", CannedReply(body=b"?"))
        printed = terminal.type("consent", "deny", "--all")
    assert printed.status == 69
    assert "may not have been stopped" in printed.err
    assert answers(terminal) == {USAGE: False, CRASH: False}


def test_an_agent_that_tells_less_or_other_things_is_understood(terminal: Terminal) -> None:
    write(terminal, usage="true")
    odd: list[Json] = [None, {}, {"consent": 1}, {"consent": {"purged": 1, "gone": [1, {}], "ready": 1}}]
    for result in odd:
        with fake_daemon(terminal.paths.socket) as daemon:
            daemon.done("/v1/narrowed", result)
            printed = terminal.type("consent", "deny", "--all")
            as_json = terminal.type("consent", "deny", "--all", "--json").json()["result"]
        assert printed.status == 0
        assert "is ready: " not in printed.out
        assert "not running" not in printed.out
        assert as_json["ready"] is None
        assert as_json["gone"] in ([], [{"id": "?", "at": 0, "stage": "attempted"}])


def test_deny_is_acknowledged_only_when_it_would_survive_a_crash(tmp_path: Path) -> None:
    """Stopped at each step: old or new is there, whole, and what was printed as denied is denied after the crash."""
    acknowledged = 0
    for step in range(80):
        for keep in (False, True):
            files = MemoryFiles(uid=tmp_path.stat().st_uid)
            terminal = Terminal(folder=tmp_path, files=files)
            text = f'schema = 1\nnotice = "{NOTICE}"\n[purposes.usage_statistics]\nallow = true\n'.encode()
            files.put(terminal.paths.consent, text, owner=files.uid)
            files.stop_at(step)
            try:
                printed = terminal.type("consent", "deny", "--all").out
            except Stopped:
                printed = ""
            files.crash(keep=keep)
            entry = files.entry(terminal.paths.consent)
            assert entry is not None
            allowed = parse(entry.data).purposes[USAGE].allow
            assert not (printed and allowed)
            acknowledged += bool(printed)
    assert acknowledged


def test_two_commands_do_not_lose_each_others_word(terminal: Terminal) -> None:
    files = MemoryFiles(uid=terminal.paths.owner)
    terminal.files = files
    with files.lock(terminal.paths.config_dir / ".consent.lock"):
        printed = terminal.type("consent", "deny", "--all")
    assert printed.status == 74
    assert "(locked)" in printed.err
    assert files.entry(terminal.paths.consent) is None


@pytest.mark.parametrize("name", ["00-fleet.conf", "00-fleet.TOML", "00-fleet.toml"])
def test_what_is_in_force_is_not_good_where_a_policy_beside_it_is_refused(terminal: Terminal, name: str) -> None:
    terminal.paths.consent.write_text(f'schema = 1\nnotice = "{NOTICE}"\n[purposes.usage_statistics]\nallow = true\n')
    assert terminal.type("consent", "check").status == 0
    policy = terminal.paths.config_dir / "consent.d" / name
    policy.parent.mkdir(mode=0o755)
    policy.write_text("not a policy")
    printed = terminal.type("consent", "check")
    assert (printed.status, printed.out) == (78, "")
    assert str(policy) in printed.err
    assert terminal.type("consent", "check", str(terminal.paths.consent)).status == 0  # this file alone
