"""`consent history | receipt | review`: the ledger and the receipts as their owner reads them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.command_line import Terminal
from fixtures.daemon.fake_daemon import fake_daemon
from fixtures.data.written_consents import NOTICE
from opanel_agent.cli.display.times import moment
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.system.storage.resources import Resources

USAGE, CRASH = Purpose.USAGE_STATISTICS, Purpose.CRASH_REPORTS


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(folder=tmp_path)
    terminal.paths.config_dir.mkdir(mode=0o755)
    return terminal


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
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/history", {"entries": entries, "of": 5})
        brief = terminal.type("consent", "history").out
        printed = terminal.type("consent", "history", "--verbose")
        result = terminal.type("consent", "history", "--json").json()["result"]
    assert printed.status == 0
    assert [line.split() for line in brief.splitlines()] == [
        ["NO", "WHEN", "EVENT", "PURPOSE"],
        ["2", *moment(1_795_000_001).split(), "consent", "withdrawn", "usage_statistics"],
        ["1", *moment(1_795_000_000).split(), "ledger", "opened"],
    ]
    assert f"usage_statistics\n  ids: a, b\n  notice: {NOTICE}\n1   " in printed.out
    assert "last 2 of 5" in printed.err
    assert result == {"entries": entries, "of": 5}


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("kind", ["OptOutSeen", "OptOutGone"])
def test_an_opt_out_is_not_called_by_the_name_of_another(terminal: Terminal, lang: Language, kind: str) -> None:
    data: Json = {"signal": "offline", "place": "/etc/opanel-agent", "line": 0}
    entry: Json = {"seq": 1, "at": 1_795_000_000, "kind": kind, "purpose": None, "data": data, "sha256": "0" * 64}
    terminal.lang = lang
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/history", {"entries": [entry]})
        printed = terminal.type("consent", "history", "--verbose")
    assert "signal: offline" in printed.out
    assert not any(name in printed.out for name in ("do-not-track", "do not track", "izlenmeme"))


def test_history_can_be_cut_and_of_one_purpose_and_leaves_the_daily_marks_out(terminal: Terminal) -> None:
    entries: list[Json] = [
        {"seq": n, "at": n, "kind": kind, "purpose": purpose, "data": {}, "sha256": "0" * 64}
        for n, (kind, purpose) in enumerate(
            [("LedgerOpened", None), ("ConsentGiven", CRASH), ("DailyMark", None), ("ConsentGiven", USAGE)] * 8, start=1
        )
    ]

    def numbers(*argv: str) -> list[int]:
        lines = terminal.type("consent", "history", *argv).out.partition("\n\n")[0].splitlines()
        return [int(line.split()[0]) for line in lines[1:]]

    def in_json(*argv: str) -> list[int]:
        result = terminal.type("consent", "history", "--json", *argv).json()["result"]["entries"]
        return [entry["seq"] for entry in result]

    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/history", {"entries": entries, "of": 32})
        assert numbers() == [n for n in range(32, 0, -1) if n % 4 != 3][:20]
        assert "showing 20 of 24; all: -n 0" in terminal.type("consent", "history").out
        assert numbers("-n", "0", "--verbose") == [*range(32, 0, -1)]
        assert numbers("crash_reports", "-n", "2") == [30, 26]
        assert in_json() == [*range(1, 33)]
        assert in_json("usage_statistics", "-n", "2") == [28, 32]
        assert terminal.type("consent", "history", "-n", "x").status == 64


def test_history_and_receipts_where_there_is_nothing(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/history", {"entries": []})
        daemon.done("/v1/receipts", {"receipts": []})
        history = terminal.type("consent", "history")
        assert "Nothing has been recorded yet" in history.out
        assert history.err == ""
        assert "No receipts are kept yet" in terminal.type("consent", "receipt").out


def test_receipts_are_listed_and_one_is_shown_whole(terminal: Terminal) -> None:
    receipts: list[Json] = [
        {"id": "report-1", "kind": "report", "iat": 1, "due": None, "sub": "ab", "token": "e.y.s"},
        {"id": "rights-2", "kind": "erase", "iat": 1, "due": 1_798_000_000, "sub": "cd", "token": "e.y.t"},
        {"id": "rights-3", "kind": "access", "iat": 1_798_000_000, "due": 1_798_000_000, "sub": "ef", "token": "e.y.u"},
    ]
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/receipts", {"receipts": receipts})
        printed = terminal.type("consent", "receipt")
        assert "rights-2: erasure; due by 2026-12" in printed.out
        assert "report-1: report received\n" in printed.out
        assert "rights-3: access; answered 2026-12" in printed.out  # what is answered at once is not owed any more
        one = terminal.type("consent", "receipt", "rights-2")
        assert "token: e.y.t" in one.out
        assert "report-1" not in one.out
        assert terminal.type("consent", "receipt", "rights-2", "--json").json()["result"] == receipts[1]
        assert terminal.type("consent", "receipt", "nothing").status == 64


@pytest.mark.parametrize("path", ["/v1/history", "/v1/receipts"])
def test_a_garbled_history_is_the_agents_fault(terminal: Terminal, path: str) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done(path, {"entries": [{"seq": "x"}], "receipts": [{"id": 1}]})
        printed = terminal.type("consent", path.removeprefix("/v1/").replace("receipts", "receipt"))
    assert printed.status == 69
    assert "(daemon_garbled)" in printed.err


def test_review_is_recorded(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/review", {"reviewed": True})
        printed = terminal.type("consent", "review")
        assert [path for path, _ in daemon.posts()] == ["/v1/review"]
    assert printed.status == 0
    assert "Consents count again" in printed.out


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_consent_receipt_of_a_purpose_is_made_from_the_ledger(terminal: Terminal, lang: Language) -> None:
    terminal.trust()
    terminal.lang = lang
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/history", {"entries": _ledger(), "of": 2})
        printed = terminal.type("consent", "receipt", "usage_statistics")
        receipt = terminal.type("consent", "receipt", "usage_statistics", "--json").json()["result"]
        none = terminal.type("consent", "receipt", "crash_reports")
    assert printed.status == 0
    assert "ISO/IEC TS 27560" in printed.out
    assert f"opanel-agent consent deny {USAGE}" in " ".join(printed.out.split())
    assert max(map(len, printed.out.splitlines())) <= 80
    assert [event["event_state"] for event in receipt["consent_record"]["event"]] == ["dpv:ConsentGiven"]
    assert none.status == 65


def test_a_receipt_names_the_notice_that_the_answer_was_given_to(terminal: Terminal) -> None:
    terminal.trust()
    notices = []
    for version in (NOTICE, "2020-01-01"):
        with fake_daemon(terminal.paths.socket) as daemon:
            daemon.done("/v1/history", {"entries": _ledger(version)})
            result = terminal.type("consent", "receipt", "usage_statistics", "--json").json()["result"]
        notices.append(result["consent_record"]["pii_processing"]["privacy_notice"])
    text = Resources().notice("en").encode()
    assert notices[0] == {"version": NOTICE, "sha256": hashlib.sha256(text).hexdigest()}
    assert notices[1] == {"version": "2020-01-01", "sha256": None}


def test_entries_that_do_not_hang_together_make_no_receipt(terminal: Terminal) -> None:
    terminal.trust()
    entries: Any = _ledger()
    entries[1]["data"]["notice"] = "2020-01-01"
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.done("/v1/history", {"entries": entries})
        assert terminal.type("consent", "receipt", "usage_statistics").status == 65


def _ledger(notice: str = NOTICE) -> list[Json]:
    from opanel_agent.core.ledger import chain
    from opanel_agent.core.ledger.chain import ChainState, EntryKind

    rows: list[Json] = []
    so_far = ChainState()
    events: tuple[tuple[EntryKind, str | None, dict[str, Any]], ...] = (
        (EntryKind.LEDGER_OPENED, None, {}),
        (EntryKind.CONSENT_GIVEN, "usage_statistics", {"notice": notice, "owner": 0}),
    )
    for kind, purpose, data in events:
        entry = chain.entry_after(so_far, kind, 1_795_000_000, purpose, data)
        so_far = chain.after(so_far, entry)
        members = json.loads(chain.encode(entry))
        rows.append({name: members[name] for name in ("seq", "at", "kind", "purpose", "data", "sha256")})
    return rows
