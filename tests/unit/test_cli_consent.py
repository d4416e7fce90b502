"""`consent`: what stands, why, and how an administrator's word gets into the file: durably first, then the agent is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.files import MemoryFiles, Stopped
from fakes.porter import Said, answer, porter
from fakes.terminal import SetSignals, Terminal
from opanel_agent.core.consent import Signal, SignalKind, Signals
from opanel_agent.core.consent_file import parse
from opanel_agent.core.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.strict_json import Json
from opanel_agent.system.data import installed_notice
from opanel_agent.texts import LANGUAGES, Language

NOTICE = installed_notice()
USAGE, CRASH = Purpose.USAGE_STATISTICS, Purpose.CRASH_REPORTS


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(folder=tmp_path)
    terminal.paths.config_dir.mkdir(mode=0o755)
    return terminal


def write(terminal: Terminal, *, usage: str = "false", crash: str = "false", notice: str = NOTICE) -> bytes:
    text = (
        f'schema = 1\nnotice = "{notice}"   # read by the board\n\n'
        f'[purposes.usage_statistics]\nallow = {usage}\nhold = "24h"\n\n'
        f"[purposes.crash_reports]\nallow = {crash}\n"
    )
    terminal.paths.consent.write_text(text)
    terminal.paths.consent.chmod(0o644)
    return text.encode()


def policy(terminal: Terminal, text: str) -> Path:
    file = terminal.paths.consent_dir / "50-fleet.toml"
    file.parent.mkdir(mode=0o755)
    file.write_text(text)
    file.chmod(0o644)
    return file


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
    assert "not running: this counts from its next start, and nothing is sent until then" in printed.out
    assert "waits 24 hours first" in printed.out


def test_allow_without_a_file_writes_a_fresh_one_that_allows_nothing_else(terminal: Terminal) -> None:
    assert terminal.type("consent", "allow", "crash_reports").status == 0
    file = parse(terminal.paths.consent.read_bytes())
    assert file.notice == NOTICE
    assert answers(terminal) == {USAGE: False, CRASH: True}
    assert terminal.paths.consent.stat().st_mode & 0o777 == 0o644


def test_allow_tells_the_agent_after_the_file_is_there(terminal: Terminal) -> None:
    write(terminal)
    with porter(terminal.paths.socket) as told:
        told.done("/v1/narrowed", {"consent": {"purged": [], "gone": [], "ready": None}})
        told.says("/v1/answer", answer())
        printed = terminal.type("consent", "allow", "usage_statistics", "crash_reports", "--json")
        assert ("/v1/narrowed", b"") in told.posts()
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
    assert "nothing leaves yet for usage statistics" in printed.out
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


@pytest.mark.parametrize("word", ["allow", "deny"])
def test_a_refused_file_is_never_written_over(terminal: Terminal, word: str) -> None:
    before = write(terminal, usage='"true"')
    printed = terminal.type("consent", word, "usage_statistics")
    assert printed.status == 78
    assert "line: 5" in printed.err
    assert terminal.paths.consent.read_bytes() == before


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
        "gone": [{"id": "report-8899aabbccddeeff", "purpose": "usage_statistics", "at": 1_795_000_000}],
        "ready": "/var/lib/opanel-agent/ready/erase-1.json",
    }
    with porter(terminal.paths.socket) as told:
        told.done("/v1/narrowed", {"consent": consent})
        printed = terminal.type("consent", word, "--all")
        as_json = terminal.type("consent", word, "--all", "--json").json()["result"]
    assert printed.status == 0
    assert answers(terminal) == {USAGE: False, CRASH: False}
    assert "purged, not sent: report-0011223344556677" in printed.out
    assert "had already left: report-8899aabbccddeeff, 2026-" in printed.out
    assert "lies ready: /var/lib/opanel-agent/ready/erase-1.json" in printed.out
    assert as_json["denied"] == [*CONSENT_BASED]
    assert as_json["gone"] == [{"id": "report-8899aabbccddeeff", "at": 1_795_000_000}]
    assert as_json["cut"]


def test_deny_of_one_leaves_the_other(terminal: Terminal) -> None:
    write(terminal, usage="true", crash="true")
    assert terminal.type("consent", "deny", "usage_statistics").status == 0
    assert answers(terminal) == {USAGE: False, CRASH: True}


def test_deny_without_a_file_is_an_answer(terminal: Terminal) -> None:
    assert terminal.type("consent", "deny", "--all").status == 0
    assert answers(terminal) == {USAGE: False, CRASH: False}


def test_deny_is_in_force_even_where_the_cut_failed_and_says_that_it_did(terminal: Terminal) -> None:
    write(terminal, usage="true")
    with porter(terminal.paths.socket) as told:
        told.says_raw("/v1/narrowed", Said(body=b"?"))
        printed = terminal.type("consent", "deny", "--all")
    assert printed.status == 69
    assert "could not be ended" in printed.err
    assert answers(terminal) == {USAGE: False, CRASH: False}


def test_an_agent_that_tells_less_or_other_things_is_understood(terminal: Terminal) -> None:
    write(terminal, usage="true")
    odd: list[Json] = [None, {}, {"consent": 1}, {"consent": {"purged": 1, "gone": [1, {}], "ready": 1}}]
    for result in odd:
        with porter(terminal.paths.socket) as told:
            told.done("/v1/narrowed", result)
            assert terminal.type("consent", "deny", "--all").status == 0


def test_deny_is_acknowledged_only_when_it_would_survive_a_crash(tmp_path: Path) -> None:
    """Stopped at each step: old or new is there, whole, and what was printed as denied is denied after the crash."""
    acknowledged = 0
    for step in range(16):
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


# show and why


def test_show_tells_every_purpose_with_file_line_and_reasons(terminal: Terminal) -> None:
    write(terminal, usage="true")
    printed = terminal.type("consent", "show")
    assert printed.status == 0
    told = terminal.type("consent", "show", "--json").json()["result"]
    assert list(told["purposes"]) == [*Purpose]
    assert told["purposes"][USAGE] == {
        "purpose": "usage_statistics",
        "permitted": True,
        "reasons": [],
        "allow": True,
        "line": 5,
        "hold_s": 86_400,
        "review": False,
    }
    file = str(terminal.paths.consent)
    assert told["purposes"][CRASH]["reasons"] == [
        {"reason": "denied_by_file", "place": f"allow = false in {file}", "line": 9}
    ]
    assert told["purposes"]["license_status"]["permitted"]
    assert f"answer: yes ({file}, line 5)" in printed.out
    assert "decided by: a setting, “check” under [license]" in printed.out


def test_show_where_nobody_answered(terminal: Terminal) -> None:
    printed = terminal.type("consent", "show")
    assert "Nobody has answered yet" in printed.out
    assert printed.out.count("answer: none yet, which counts as a no") == len(CONSENT_BASED)
    assert terminal.type("consent", "show", "--json").json()["result"]["notice"] is None


def test_show_and_why_tell_a_refused_file_with_line_and_cure(terminal: Terminal) -> None:
    write(terminal, usage="1")
    for argv in (("show",), ("why", "usage_statistics")):
        out = terminal.type("consent", *argv).out
        assert "“purposes.usage_statistics.allow” is of the wrong type" in out
        assert "line: 5" in out or "line 5" in out
        assert "true and false are written without quotation marks" in out


def test_show_names_who_granted(terminal: Terminal) -> None:
    text = write(terminal, usage="true") + '[granted]\nby = "Ayşe Yılmaz"\nrole = "CTO"\non = "2026-12-02"\n'.encode()
    terminal.paths.consent.write_bytes(text)
    assert "Granted by Ayşe Yılmaz, CTO, on 2026-12-02" in terminal.type("consent", "show").out


def test_why_names_every_reason_and_exits_1(terminal: Terminal) -> None:
    write(terminal, notice="2020-01-01")
    terminal.optouts = SetSignals()
    terminal.optouts.signals = Signals(do_not_track=(signal("/etc/environment", 3),), offline=(signal("/x"),))
    printed = terminal.type("consent", "why", "usage_statistics")
    told = terminal.type("consent", "why", "usage_statistics", "--json").json()["result"]
    assert printed.status == 1
    assert {each["reason"] for each in told["reasons"]} == {"opt_out", "offline", "denied_by_file", "notice_changed"}
    assert "DO_NOT_TRACK=1 in /etc/environment, line 3" in printed.out
    assert f"allow = false in {terminal.paths.consent}, line 5" in printed.out


def test_why_of_what_is_permitted_says_what_a_report_waits_for(terminal: Terminal) -> None:
    write(terminal, usage="true", crash="true")
    usage, crash, status = (terminal.type("consent", "why", each) for each in (USAGE, CRASH, Purpose.LICENSE_STATUS))
    assert (usage.status, crash.status, status.status) == (0, 0, 0)
    assert "waits 24 hours first" in usage.out
    assert "waits until you have seen it" in crash.out
    assert "waits" not in status.out


def test_refused_settings_are_a_reason_for_every_purpose(terminal: Terminal) -> None:
    write(terminal, usage="true")
    terminal.paths.settings.write_text("schema = 2\n")
    terminal.paths.settings.chmod(0o600)
    told = terminal.type("consent", "show", "--json").json()["result"]["purposes"]
    assert all("settings_refused" in {each["reason"] for each in told[purpose]["reasons"]} for purpose in Purpose)


def test_what_only_the_agent_knows_is_added(terminal: Terminal) -> None:
    """Its ledger, a copied machine, and the variables that it was started with; what it says of files is stale by now."""
    write(terminal, usage="true")
    reasons: list[Json] = [
        {"reason": "ledger", "place": "review_due", "line": None},
        {"reason": "clone", "place": "machine identity", "line": None},
        {"reason": "opt_out", "place": "DO_NOT_TRACK=1 in the process environment", "line": None},
        {"reason": "denied_by_file", "place": "allow = false in consent.toml", "line": 5},
        {"reason": "of_tomorrow", "place": "x", "line": None},
        {"reason": "ledger", "place": 7, "line": None},
        "garbled",
    ]
    told: dict[str, Any] = answer()
    told["consent"]["purposes"]["usage_statistics"] = {"permitted": False, "reasons": reasons}
    with porter(terminal.paths.socket) as resident:
        resident.says("/v1/answer", told)
        printed = terminal.type("consent", "why", "usage_statistics", "--json")
    assert printed.status == 1
    assert printed.json()["result"]["reasons"] == reasons[:3]


# check


def check(terminal: Terminal, text: str, *more: str) -> Any:
    file = terminal.folder / "new.toml"
    file.write_text(text)
    return terminal.type("consent", "check", str(file), *more)


def test_check_says_what_a_file_would_change(terminal: Terminal) -> None:
    write(terminal, crash="true")
    new = f'schema = 1\nnotice = "{NOTICE}"\n[purposes.usage_statistics]\nallow = true\nhold = "24h"\n'
    printed = check(terminal, new)
    assert printed.status == 0
    assert "purposes.usage_statistics.allow: false -> true" in printed.out
    assert "purposes.crash_reports.allow: true -> absent" in printed.out
    assert {each["key"] for each in check(terminal, new, "--json").json()["result"]["changes"]} == {
        "purposes.usage_statistics.allow",
        "purposes.crash_reports.allow",
        "purposes.crash_reports.review",
    }
    assert "change nothing" in check(terminal, terminal.paths.consent.read_text()).out


@pytest.mark.parametrize(
    ("text", "detail", "line"),
    [
        ('schema = 1\nnotice = "2026-12-01"\n[purposes.usage_statistics]\nallow = "true"\n', "toml_type", 4),
        ('schema = 1\nnotice = "2026-12-01"\nallow_all = true\n', "toml_unknown", 3),
        ('schema = 2\nnotice = "2026-12-01"\n', "toml_schema", 1),
        ("schema = 1\nnotice =\n", "toml_syntax", 2),
    ],
)
def test_check_refuses_with_line_and_cure(terminal: Terminal, text: str, detail: str, line: int) -> None:
    printed = check(terminal, text)
    assert printed.status == 78
    assert f"({detail})" in printed.err
    assert f"line: {line}" in printed.err
    assert "new.toml" in printed.err
    assert "what to do" in printed.err


def test_check_judges_what_is_no_such_file(terminal: Terminal) -> None:
    assert terminal.type("consent", "check", str(terminal.folder / "absent")).status == 74
    assert terminal.type("consent", "check", str(terminal.folder)).status == 78
    assert terminal.type("consent", "check", "-", stdin=b"schema = 3").status == 78
    assert check(terminal, "#" * 70_000).status == 78


def test_check_of_the_file_in_force_judges_whose_it_is_too(terminal: Terminal) -> None:
    assert terminal.type("consent", "check").status == 74
    write(terminal)
    assert terminal.type("consent", "check").status == 0
    terminal.paths.consent.chmod(0o666)
    assert terminal.type("consent", "check").status == 78


def test_check_warns_of_grants_that_grant_nothing(terminal: Terminal) -> None:
    write(terminal, usage="true", notice="2020-01-01")
    printed = terminal.type("consent", "check")
    assert printed.status == 0
    assert "2020-01-01" in printed.err
    write(terminal, notice="2020-01-01")
    assert terminal.type("consent", "check").err == ""


# what happened


def test_history_tells_each_entry(terminal: Terminal) -> None:
    entries: list[Json] = [
        {"seq": 1, "at": 1_795_000_000, "kind": "LedgerOpened", "purpose": None, "data": {}, "sha256": "0" * 64},
        {
            "seq": 2,
            "at": 1_795_000_001,
            "kind": "ConsentWithdrawn",
            "purpose": "usage_statistics",
            "data": {"ids": ["a", "b"], "notice": NOTICE},
            "sha256": "1" * 64,
        },
    ]
    with porter(terminal.paths.socket) as told:
        told.done("/v1/history", {"entries": entries, "of": 5})
        printed = terminal.type("consent", "history")
        result = terminal.type("consent", "history", "--json").json()["result"]
    assert printed.status == 0
    assert "consent was withdrawn: usage statistics (ConsentWithdrawn)" in printed.out
    assert "    ids: a, b" in printed.out
    assert "last 2 of 5" in printed.err
    assert result == {"entries": entries, "of": 5}


def test_history_and_receipts_where_there_is_nothing(terminal: Terminal) -> None:
    with porter(terminal.paths.socket) as told:
        told.done("/v1/history", {"entries": []})
        told.done("/v1/receipts", {"receipts": []})
        assert "Nothing has been recorded yet" in terminal.type("consent", "history").out
        assert "No receipt is kept yet" in terminal.type("consent", "receipt").out


def test_receipts_are_listed_and_one_is_shown_whole(terminal: Terminal) -> None:
    receipts: list[Json] = [
        {"id": "report-1", "kind": "report", "iat": 1, "due": None, "sub": "ab", "token": "e.y.s"},
        {"id": "rights-2", "kind": "erase", "iat": 1, "due": 1_798_000_000, "sub": "cd", "token": "e.y.t"},
    ]
    with porter(terminal.paths.socket) as told:
        told.done("/v1/receipts", {"receipts": receipts})
        printed = terminal.type("consent", "receipt")
        assert "rights-2: erasure; what it promises is due by 2026-12" in printed.out
        assert "report-1: report received\n" in printed.out
        one = terminal.type("consent", "receipt", "rights-2")
        assert "token: e.y.t" in one.out
        assert "report-1" not in one.out
        assert terminal.type("consent", "receipt", "rights-2", "--json").json()["result"] == receipts[1]
        assert terminal.type("consent", "receipt", "nothing").status == 64


@pytest.mark.parametrize("path", ["/v1/history", "/v1/receipts"])
def test_a_garbled_history_is_the_agents_fault(terminal: Terminal, path: str) -> None:
    with porter(terminal.paths.socket) as told:
        told.done(path, {"entries": [{"seq": "x"}], "receipts": [{"id": 1}]})
        printed = terminal.type("consent", path.removeprefix("/v1/").replace("receipts", "receipt"))
    assert printed.status == 69
    assert "(resident_garbled)" in printed.err


def test_review_is_recorded(terminal: Terminal) -> None:
    with porter(terminal.paths.socket) as told:
        told.done("/v1/review", {"reviewed": True})
        printed = terminal.type("consent", "review")
        assert [path for path, _ in told.posts()] == ["/v1/review"]
    assert printed.status == 0
    assert "Consents count again" in printed.out


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_consent_receipt_of_a_purpose_is_made_from_the_ledger(terminal: Terminal, lang: Language) -> None:
    terminal.trust()
    terminal.lang = lang
    with porter(terminal.paths.socket) as told:
        told.done("/v1/history", {"entries": _ledger(), "of": 2})
        printed = terminal.type("consent", "receipt", "usage_statistics")
        receipt = terminal.type("consent", "receipt", "usage_statistics", "--json").json()["result"]
        none = terminal.type("consent", "receipt", "crash_reports")
    assert printed.status == 0
    assert "ISO/IEC TS 27560" in printed.out
    assert f"opanel-agent consent deny {USAGE}" in " ".join(printed.out.split())
    assert max(map(len, printed.out.splitlines())) <= 80
    assert [event["event_state"] for event in receipt["consent_record"]["event"]] == ["dpv:ConsentGiven"]
    assert none.status == 65


def test_entries_that_do_not_hang_together_make_no_receipt(terminal: Terminal) -> None:
    terminal.trust()
    entries: Any = _ledger()
    entries[1]["data"]["notice"] = "2020-01-01"
    with porter(terminal.paths.socket) as told:
        told.done("/v1/history", {"entries": entries})
        assert terminal.type("consent", "receipt", "usage_statistics").status == 65


def _ledger() -> list[Json]:
    from opanel_agent.core import ledger
    from opanel_agent.core.ledger import Kind, Ledger

    told: list[Json] = []
    so_far = Ledger()
    for kind, purpose, data in (
        (Kind.LEDGER_OPENED, None, {}),
        (Kind.CONSENT_GIVEN, "usage_statistics", {"notice": NOTICE, "owner": 0}),
    ):
        entry = ledger.entry_after(so_far, kind, 1_795_000_000, purpose, data)
        so_far = ledger.after(so_far, entry)
        members = json.loads(ledger.encode(entry))
        told.append({name: members[name] for name in ("seq", "at", "kind", "purpose", "data", "sha256")})
    return told
