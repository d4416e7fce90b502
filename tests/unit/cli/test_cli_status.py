"""`status` in its four forms: the screen, the envelope, Nagios's line, OpenMetrics; from the daemon and from the file."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures.command_line import Printed, Terminal
from fixtures.fake_daemon import DAY, NOW, CannedReply, answer, fake_daemon, problem
from opanel_agent.cli.license.status import moment
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.consent.gate import Signal, SignalKind, Signals
from opanel_agent.core.errors import Storage
from opanel_agent.core.license.states import State


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(folder=tmp_path)


def ask(terminal: Terminal, *argv: str, **license_members: Any) -> Printed:
    with fake_daemon(terminal.paths.socket) as told:
        told.says("/v1/answer", answer(**license_members))
        return terminal.type("status", *argv)


def leave(terminal: Terminal, **license_members: Any) -> None:
    """The file of a daemon that does not run any more."""
    terminal.paths.runtime_dir.mkdir(exist_ok=True)
    terminal.paths.answer.write_text(json.dumps(answer(**license_members)))


@pytest.mark.parametrize(
    ("left_s", "said"),
    [(3600, "hours left: 1"), (3601, "hours left: 2"), (2 * DAY - 1, "hours left: 48"), (2 * DAY, "days left: 2")],
)
def test_what_is_left_is_told_in_hours_once_days_say_too_little(terminal: Terminal, left_s: int, said: str) -> None:
    assert f"({said})" in ask(terminal, until=NOW + left_s).out


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        ({"next": None, "at": None, "failure": None}, []),
        (
            {"next": NOW + 9 * DAY, "at": None, "failure": None},
            [f"Next request for a renewed license: {moment(NOW + 9 * DAY)}"],
        ),
        ({"next": None, "at": NOW - DAY, "failure": None}, [f"License renewed: {moment(NOW - DAY)}"]),
        (
            {"next": NOW + DAY, "at": NOW, "failure": "not_yet"},
            [
                f"Last request for a renewed license: {moment(NOW)}, without success: there is no newer license yet",
                f"Next request for a renewed license: {moment(NOW + DAY)}",
            ],
        ),
        (
            {"next": None, "at": NOW, "failure": "revoked"},
            [f"Last request for a renewed license: {moment(NOW)}, without success: the license was revoked"],
        ),
    ],
)
def test_the_renewal_is_told(terminal: Terminal, told: dict[str, Any], lines: list[str]) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", {**answer(), "renewal": told})
        printed = terminal.type("status").out.splitlines()
    assert [line for line in printed if "renewed" in line] == lines


def test_one_screen_says_what_people_ask(terminal: Terminal) -> None:
    printed = ask(
        terminal,
        state="grace",
        reasons=["suspended"],
        next_action={"code": "contact_reseller", "tr": "Arayın.", "en": "Call Örnek Hosting."},
    )
    assert printed.status == 0
    assert printed.err == ""
    for line in (
        "License: grace period",
        "  reason: the reseller suspended the license [suspended]",
        f"  since: {moment(NOW - DAY)}",
        f"  unless something new comes, until: {moment(NOW + 300 * DAY)} (days left: 300)",
        "  create accounts, domains, mailboxes, databases: yes",
        "  features: backup, mail",
        "  limits: accounts 100",
        "  reseller: Örnek Hosting (destek@hosting.example)",
        "  what to do: Call Örnek Hosting.",
        "May leave this server, license status (the same bytes for everyone): yes",
        "May leave this server, license renewal: no",
        "May leave this server, usage statistics: no, the administrator was not asked yet",
        f"Left last: usage statistics, {moment(NOW - DAY)}, to",
        "  https://reports.example/v1/reports/usage_statistics [usage-0123456789abcdef]",
        f"Reports that wait: 2 (opanel-agent data held); next: {moment(NOW + 2 * DAY)}",
        "Isolation: none; systemd did not start the processes",
        "Root of trust: urn:opanel:demo (SHA-256 abababababababab…)",
        f"Last check of the status list: {moment(NOW)}",
        f"Next check: {moment(NOW + DAY)}",
    ):
        assert line in printed.out.splitlines()
    assert len(printed.out.splitlines()) <= 24


def test_the_screen_in_turkish(terminal: Terminal) -> None:
    terminal.lang = "tr"
    action = {"code": "contact_reseller", "tr": "Bayinizi arayın.", "en": "x"}
    out = ask(terminal, state="grace", reasons=["suspended"], next_action=action).out
    assert "Lisans: ek süre" in out
    assert "  neden: bayi lisansı askıya aldı [suspended]" in out
    assert "  yapılacak: Bayinizi arayın." in out


def test_of_the_promise_each_state_has_its_line(terminal: Terminal) -> None:
    def lines(**parts: Any) -> str:
        with fake_daemon(terminal.paths.socket) as told:
            told.says("/v1/answer", answer() | parts)
            return terminal.type("status").out

    assert "Left last: nothing that says anything about this server\n" in lines(last_left=None)
    assert "Reports that wait: 1 (opanel-agent data held)\n" in lines(reports={"held": 1, "next": None})
    assert f"Next report: {moment(NOW)}\n" in lines(reports={"held": 0, "next": NOW})
    quiet = lines(reports={"held": 0, "next": None})
    assert not re.search("Reports that wait|Next report|advisories:", quiet)
    assert "Security advisories: 2 (opanel-agent advisories)\n" in lines(advisories=[{}, {}])
    assert "Left last" not in lines(last_left=None).replace("Left last: nothing", "")


def test_an_older_daemon_tells_nothing_of_reports_and_nothing_is_made_up(terminal: Terminal) -> None:
    older = {name: value for name, value in answer().items() if name not in ("last_left", "reports", "advisories")}
    with fake_daemon(terminal.paths.socket) as told:
        told.says("/v1/answer", older)
        printed = terminal.type("status")
        metrics = terminal.type("status", "--metrics").out
    assert printed.status == 0
    assert "Left last" not in printed.out
    assert not re.search(r"^opanel_agent_(held_reports|next_report_seconds|last_left_seconds) ", metrics, re.MULTILINE)


def test_what_is_not_there_takes_no_line(terminal: Terminal) -> None:
    out = ask(
        terminal,
        state="unlicensed",
        reasons=["no_license"],
        until=None,
        features=[],
        limits={},
        tier=None,
        reseller=None,
    ).out
    assert not re.search(r"until: |^  features:|limits:|reseller:", out, re.MULTILINE)


def test_a_reseller_without_any_contact_is_named(terminal: Terminal) -> None:
    out = ask(terminal, reseller={"name": "X", "email": None, "phone": None, "url": None}).out
    assert "  reseller: X\n" in out


def test_opt_outs_and_a_failed_check_are_said(terminal: Terminal) -> None:
    found = Signal(kind=SignalKind.FILE, what="offline", place="/etc/opanel-agent")
    terminal.optouts.signals = Signals(do_not_track=(found,), offline=(found,))  # type: ignore[attr-defined]
    with fake_daemon(terminal.paths.socket) as told:
        told.says("/v1/answer", answer() | {"last_check": {"at": None, "failure": "unreachable_tcp"}})
        out = terminal.type("status").out
    assert "Offline is in force" in out
    assert "Do-not-track is in force" in out
    assert "check of the status list: never; the latest attempt failed: the server could not be reached" in out


def test_the_envelope_holds_the_whole_answer(terminal: Terminal) -> None:
    printed = ask(terminal, "--json")
    assert printed.json() == {"schema": 1, "result": answer(), "warnings": [], "errors": []}


def test_codes_of_a_newer_daemon_and_members_that_it_added_do_no_harm(terminal: Terminal) -> None:
    printed = ask(terminal, state="hovering", reasons=["of_tomorrow"], surprise={"x": [1]})
    assert printed.status == 0
    assert "License: hovering" in printed.out
    assert "[of_tomorrow]" in printed.out


def test_without_a_daemon_the_last_answer_is_shown_as_such(terminal: Terminal) -> None:
    leave(terminal)
    printed = terminal.type("status")
    assert printed.status == 0
    assert "License: active" in printed.out
    assert printed.err.startswith("warning: opanel-agent is not running; this is its last answer")
    told = terminal.type("status", "--json").json()
    assert [warning["code"] for warning in told["warnings"]] == ["not_running"]


def test_a_daemon_that_cannot_answer_yet_is_not_covered_up(terminal: Terminal) -> None:
    leave(terminal)
    with fake_daemon(terminal.paths.socket) as told:
        told.says_raw("/v1/answer", problem(503, "not_yet"))
        assert terminal.type("status").status == 75


def test_a_daemon_that_answers_nonsense_is_not_covered_up_either(terminal: Terminal) -> None:
    leave(terminal)
    with fake_daemon(terminal.paths.socket) as told:
        told.says_raw("/v1/answer", CannedReply(body=b"?"))
        assert terminal.type("status").status == 69
        assert terminal.type("status", "--check").status == 3


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"license": []}'])
def test_a_file_that_is_no_answer_leaves_the_daemon_s_own_failure_or_says_so(
    terminal: Terminal, content: bytes
) -> None:
    terminal.paths.runtime_dir.mkdir()
    terminal.paths.answer.write_bytes(content)
    printed = terminal.type("status")
    assert printed.status == 69
    assert printed.out == ""
    assert terminal.type("status", "--check").status == 3


@pytest.mark.parametrize(
    ("members", "status", "word"),
    [
        ({}, 0, "OK"),
        ({"reasons": ["ok", "isolation_none", "isolation_partial"]}, 0, "OK"),
        ({"reasons": ["renew_soon"]}, 1, "WARNING"),
        ({"reasons": ["unreachable_tcp"]}, 1, "WARNING"),
        ({"warnings": [{"state": "active"}]}, 1, "WARNING"),
        ({"state": "grace", "reasons": ["suspended"]}, 1, "WARNING"),
        *(
            ({"state": str(state), "reasons": ["expired"]}, 2, "CRITICAL")
            for state in State
            if state not in (State.ACTIVE, State.GRACE)
        ),
        ({"state": "hovering"}, 2, "CRITICAL"),
    ],
)
def test_check_is_one_line_and_a_status(terminal: Terminal, members: dict[str, Any], status: int, word: str) -> None:
    printed = ask(terminal, "--check", **members)
    assert printed.status == status
    assert printed.out.startswith(f"OPANEL {word} - ")
    assert printed.out.count("\n") == 1
    assert printed.err == ""


def test_every_reason_but_three_is_a_warning(terminal: Terminal) -> None:
    well = {reason for reason in Reason if ask(terminal, "--check", reasons=[str(reason)]).status == 0}
    assert well == {Reason.OK, Reason.ISOLATION_NONE, Reason.ISOLATION_PARTIAL}


@pytest.mark.parametrize(
    ("isolation", "line"),
    [
        ({"level": "kernel", "missing": []}, "Isolation: kernel; every wall of the service holds"),
        (
            {"level": "partial", "missing": ["network_namespace", "devices", "a_newer_wall"]},
            "Isolation: partial; missing: its own empty network, the empty /dev, a_newer_wall",
        ),
        ({"level": "partial"}, "Isolation: partial"),
        ({"level": "floating", "missing": []}, "Isolation: floating"),
    ],
)
def test_the_isolation_and_what_is_missing_of_it(terminal: Terminal, isolation: dict[str, Any], line: str) -> None:
    with fake_daemon(terminal.paths.socket) as told:
        told.says("/v1/answer", {**answer(), "isolation": isolation})
        assert line in terminal.type("status").out.splitlines()


def test_an_evaluation_that_failed_is_told_beside_the_answer(terminal: Terminal) -> None:
    trouble = Storage(Fault.DISK_FULL, "disk_full", file="/var/lib/opanel-agent/clock.json", errno="ENOSPC").to_json()
    with fake_daemon(terminal.paths.socket) as told:
        told.says("/v1/answer", answer() | {"trouble": trouble})
        printed = terminal.type("status")
        assert (printed.status, "License: active" in printed.out) == (0, True)
        assert "the last evaluation failed" in printed.err
        assert "the disk is full" in printed.err
        check = terminal.type("status", "--check")
        assert (check.status, "the disk is full" in check.out) == (1, True)
        envelope = terminal.type("status", "--json").json()
        assert [warning["code"] for warning in envelope["warnings"]] == ["disk_full"]


@pytest.mark.parametrize(("age_s", "status"), [(0, 1), (7 * DAY, 1), (7 * DAY + 1, 3)])
def test_check_of_a_stopped_agent_warns_and_then_knows_nothing(terminal: Terminal, age_s: int, status: int) -> None:
    leave(terminal)
    terminal.now_s = NOW + age_s
    printed = terminal.type("status", "--check")
    assert printed.status == status
    assert "not running" in printed.out


def test_check_knows_nothing_where_nobody_answers(terminal: Terminal) -> None:
    printed = terminal.type("status", "--check")
    assert printed.status == 3
    assert printed.out == "OPANEL UNKNOWN - cannot reach opanel-agent: it is not running\n"
    with fake_daemon(terminal.paths.socket) as told:
        told.says_raw("/v1/answer", CannedReply(body=b"?"))
        assert terminal.type("status", "--check").status == 3


SAMPLE = re.compile(r'[a-z_]+(\{[a-z]+="[^"\n]*"\})? -?\d+')
COMMENT = re.compile(r"# (TYPE [a-z_]+ gauge|HELP [a-z_]+ \S.*)")


def samples(text: str) -> list[str]:
    """Those of an OpenMetrics text, which must be one (OpenMetrics 1.0): families whole, each once, and its end."""
    assert text.endswith("\n")
    *lines, end = text.splitlines()
    assert end == "# EOF"
    assert all(SAMPLE.fullmatch(line.replace('\\"', "")) or COMMENT.fullmatch(line) for line in lines)
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    assert [line.split()[2] for line in lines if line.startswith("# HELP")] == families
    at = ""
    for line in lines:
        at = line.split()[2] if line.startswith("# TYPE") else at
        assert line.startswith((f"# TYPE {at} ", f"# HELP {at} ", f"{at} ", f"{at}{{")), line
    return [line for line in lines if not line.startswith("#")]


def test_metrics_are_openmetrics_that_a_textfile_collector_reads(terminal: Terminal) -> None:
    lines = samples(ask(terminal, "--metrics", state="grace", reasons=["suspended", 'odd"one\n'], until=None).out)
    assert [line for line in lines if line.startswith("opanel_agent_license_state") and line.endswith(" 1")] == [
        'opanel_agent_license_state{state="grace"} 1'
    ]
    assert len([line for line in lines if line.startswith("opanel_agent_license_state{")]) == len(State)
    assert "opanel_agent_up 1" in lines
    assert 'opanel_agent_license_permits{permit="paid_features"} 1' in lines
    assert f"opanel_agent_answer_seconds {NOW}" in lines
    assert "opanel_agent_advisories 0" in lines
    assert "opanel_agent_held_reports 2" in lines
    assert f"opanel_agent_next_report_seconds {NOW + 2 * DAY}" in lines
    assert f"opanel_agent_last_left_seconds {NOW - DAY}" in lines
    assert 'opanel_agent_purpose_permitted{purpose="license_status"} 1' in lines
    assert 'opanel_agent_purpose_permitted{purpose="usage_statistics"} 0' in lines
    assert 'opanel_agent_license_reason{reason="odd\\"one\\n"} 1' in lines
    assert not any(line.startswith("opanel_agent_license_until_seconds ") for line in lines)
    assert not any(line.startswith("opanel_agent_license_left_seconds ") for line in lines)


def test_metrics_tell_what_an_operator_alerts_on(terminal: Terminal) -> None:
    terminal.now_s = NOW + 100.9
    lines = samples(ask(terminal, "--metrics", last_success=NOW - DAY, until=NOW + 3 * DAY).out)
    for line in (
        f"opanel_agent_license_until_seconds {NOW + 3 * DAY}",
        f"opanel_agent_license_left_seconds {3 * DAY - 100}",
        f"opanel_agent_last_success_seconds {NOW - DAY}",
        f"opanel_agent_last_success_age_seconds {DAY + 100}",
        f"opanel_agent_next_run_seconds {NOW + DAY}",
        f"opanel_agent_root_until_seconds {NOW + 900 * DAY}",
        'opanel_agent_isolation{level="none"} 1',
        'opanel_agent_isolation{level="kernel"} 0',
        "opanel_agent_isolation_missing 1",
        "opanel_agent_check_failed 0",
        "opanel_agent_trouble 0",
    ):
        assert line in lines
    terminal.now_s = NOW + 30 * DAY
    with fake_daemon(terminal.paths.socket) as told:
        failure = {"kind": "Storage", "code": "disk_full", "detail": "disk_full", "values": {}}
        parts: dict[str, Any] = {"last_check": {"at": None, "failure": "unreachable_dns"}, "trouble": failure}
        told.says("/v1/answer", answer(last_success=None, until=NOW) | parts)
        lines = samples(terminal.type("status", "--metrics").out)
    assert "opanel_agent_license_left_seconds 0" in lines
    assert "opanel_agent_check_failed 1" in lines
    assert "opanel_agent_trouble 1" in lines
    assert not any(line.startswith("opanel_agent_last_success") for line in lines)


def test_metrics_hold_before_a_strict_parser(terminal: Terminal) -> None:
    """Prometheus's own, which refuses what a scraper may only skip."""
    parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="prometheus_client is not installed")
    leave(terminal)
    texts = [
        ask(terminal, "--metrics").out,
        ask(terminal, "--metrics", state="hovering", reasons=['a"b\\c\nd'], until=None, last_success=None).out,
        terminal.type("status", "--metrics").out,
    ]
    terminal.paths.answer.unlink()
    texts.append(terminal.type("status", "--metrics").out)
    for text in texts:
        families = {family.name: family for family in parser.text_string_to_metric_families(text)}
        assert "opanel_agent_up" in families
    assert families.keys() == {"opanel_agent_up"}
    told = {family.name: family for family in parser.text_string_to_metric_families(texts[1])}
    assert [each.labels["reason"] for each in told["opanel_agent_license_reason"].samples] == ['a"b\\c\nd']
    with pytest.raises(ValueError, match="EOF"):
        [*parser.text_string_to_metric_families(texts[0].removesuffix("# EOF\n"))]


def test_metrics_without_a_daemon_say_that_it_is_down(terminal: Terminal) -> None:
    printed = terminal.type("status", "--metrics")
    assert printed.status == 0
    assert "opanel_agent_up 0\n" in printed.out
    assert printed.out.endswith("# EOF\n")
    leave(terminal)
    assert "opanel_agent_up 0\n" in terminal.type("status", "--metrics").out


def test_a_time_beyond_every_calendar_is_still_shown() -> None:
    assert moment(2**53 - 1)
    assert re.fullmatch(r"2026-11-2\d \d\d:\d\d \S+", moment(NOW))


TERMS: Final[Json] = {
    "id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "product": "opanel",
    "tier": "pro",
    "issued": NOW - DAY,
    "expires": NOW + 363 * DAY,
    "renews_from": NOW + 250 * DAY,
    "offline_until": NOW + 30 * DAY,
}


@pytest.mark.parametrize("command", [("status",), ("license", "show")])
def test_when_the_license_ends_is_said_with_which_it_is(terminal: Terminal, command: tuple[str, ...]) -> None:
    with fake_daemon(terminal.paths.socket) as told:
        told.says("/v1/answer", answer(license=TERMS))
        printed = terminal.type(*command)
        assert f"valid until {moment(NOW + 363 * DAY)} (in 363 days)" in printed.out
        assert "product opanel, tier pro, id 0f8fad5b-d9cb-469f-a165-70867728950e" in printed.out
        told.replies.clear()
        told.says("/v1/answer", answer())
        assert "valid until" not in terminal.type(*command).out
