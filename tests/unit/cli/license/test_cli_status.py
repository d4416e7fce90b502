"""`status` in its four forms: the screen, the envelope, Nagios's line, OpenMetrics; from the daemon and from the file."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures.command_line import Printed, Terminal
from fixtures.daemon.fake_daemon import DAY, NOW, CannedReply, answer, fake_daemon, problem
from opanel_agent.cli.display.times import day, moment
from opanel_agent.cli.parser import find
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.commands import COMMANDS
from opanel_agent.core.consent.gate import Signal, SignalKind, Signals
from opanel_agent.core.consent.purposes import POLICIES
from opanel_agent.core.consent.withdrawals import AgentRecord, Origin, Withdrawable, Withdrawal
from opanel_agent.core.errors import Storage
from opanel_agent.core.license.states import ACTIONS, PERMITS, Action, State
from opanel_agent.core.units import LANGUAGES, Language
from opanel_agent.messages import translate
from opanel_agent.system.consent.withdrawal_store import WithdrawalStore
from opanel_agent.system.storage.resources import installed_notice

OF_THE_PROMISE = ("last_left", "may_have_left", "requests", "reports", "advisories")


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(folder=tmp_path)


def ask(terminal: Terminal, *argv: str, **license_members: Any) -> Printed:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer(**license_members))
        return terminal.type("status", *argv)


def leave(terminal: Terminal, **license_members: Any) -> None:
    """The file of a daemon that does not run any more."""
    terminal.paths.runtime_dir.mkdir(exist_ok=True)
    terminal.paths.answer.write_text(json.dumps(answer(**license_members)))


def row(printed: str, label: str) -> str | None:
    """The text beside a label, its lines joined; None where there is no such row."""
    lines = iter(printed.splitlines())
    for line in lines:
        if line.startswith(f"{label}  "):
            texts = [line.removeprefix(label).strip()]
            while (following := next(lines, "")).startswith("  "):
                texts.append(following.strip())
            return " ".join(texts)
    return None


@pytest.mark.parametrize(
    ("ahead_s", "relative"),
    [
        (-3 * DAY - 1, "3 days ago"),
        (-2 * DAY + 1, "47 hours ago"),
        (-7199, "119 minutes ago"),
        (-119, "just now"),
        (0, "just now"),
        (119, "in a moment"),
        (120, "in 2 minutes"),
        (7199, "in 120 minutes"),
        (7200, "in 2 hours"),
        (7201, "in 3 hours"),
        (2 * DAY - 1, "in 48 hours"),
        (2 * DAY + 1, "in 3 days"),
    ],
)
def test_a_time_is_told_with_how_far_it_is(terminal: Terminal, ahead_s: int, relative: str) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer() | {"last_check": {"at": NOW + ahead_s, "failure": None}, "next_run": {}})
        assert row(terminal.type("status").out, "Last check") == f"{moment(NOW + ahead_s)} ({relative})"


@pytest.mark.parametrize(
    ("renewal", "text"),
    [
        ({"next": None, "at": None, "failure": None}, None),
        ({"next": NOW + 9 * DAY, "at": None, "failure": None}, None),
        ({"next": None, "at": NOW - DAY, "failure": None}, f"renewed {moment(NOW - DAY)}"),
        (
            {"next": NOW + DAY, "at": NOW, "failure": "not_yet"},
            f"requested {moment(NOW)}, not received: there is no newer license yet; next: {moment(NOW + DAY)}",
        ),
        (
            {"next": None, "at": NOW, "failure": "revoked"},
            f"requested {moment(NOW)}, not received: the license was revoked",
        ),
    ],
)
def test_the_renewal_has_a_row_once_there_was_one(
    terminal: Terminal, renewal: dict[str, Any], text: str | None
) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", {**answer(), "renewal": renewal})
        assert row(terminal.type("status").out, "Renewal") == text


TERMS: Final[dict[str, Json]] = {
    "id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "product": "opanel",
    "tier": "pro",
    "issued": NOW - DAY,
    "expires": NOW + 363 * DAY,
    "renews_from": NOW + 250 * DAY,
    "offline_until": NOW + 30 * DAY,
}

ORDINARY: Final = f"""\
License      active, opanel, tier pro
Valid until  {moment(NOW + 363 * DAY)} (in 363 days), renewable from 2027-08-01
License id   0f8fad5b-d9cb-469f-a165-70867728950e
Includes     backup, mail, accounts 100
Reseller     Örnek Hosting, destek@hosting.example
To do        nothing

Last check   {moment(NOW)} (just now); next: in 24 hours
Check by     {moment(NOW + 30 * DAY)} (in 30 days)
Isolation    none; systemd did not start the processes
Sends        license checks, license renewal, security advisories
Not sent     usage statistics, crash reports (the administrator denied it)
Last sent    usage statistics, 24 hours ago; sent and answered
Next report  {moment(NOW + 2 * DAY)}
Opt-outs     none
"""


def test_in_ordinary_times_status_has_fifteen_lines_of_eighty_columns(terminal: Terminal) -> None:
    for purpose in ("usage_statistics", "crash_reports"):
        terminal.type("consent", "deny", purpose)
    parts: dict[str, Json] = {"reports": {"held": 0, "next": NOW + 2 * DAY}}
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer(license=TERMS) | parts)
        printed = terminal.type("status")
    assert (printed.status, printed.err) == (0, "")
    assert printed.out == ORDINARY
    assert len(printed.out.splitlines()) <= 15
    assert max(map(len, printed.out.splitlines())) <= 80


REASONS: Final[dict[State, Reason]] = {
    State.UNLICENSED: Reason.NO_LICENSE,
    State.REVOKED: Reason.REVOKED,
    State.NOT_YET_VALID: Reason.NOT_YET_VALID,
    State.EXPIRED: Reason.EXPIRED,
    State.SUSPENDED: Reason.SUSPENDED,
    State.WRONG_MACHINE: Reason.MACHINE_MISMATCH,
    State.NOT_ACTIVATED: Reason.ACTIVATION_DUE,
    State.GRACE: Reason.STATUS_STALE,
    State.ACTIVE: Reason.OK,
}


def troubled(state: State) -> dict[str, Json]:
    """The answer of an agent in this state to whom everything else happens, too; in the agent's own words."""
    contact: Json = {
        "name": "Örnek Barındırma Hizmetleri",
        "email": "destek@ornek-barindirma.example",
        "phone": "+90 212 000 00 00",
        "url": "https://ornek-barindirma.example",
    }
    code = ACTIONS.get(REASONS[state], Action.NONE)
    name = "Örnek Barındırma Hizmetleri, destek@ornek-barindirma.example"
    action: Json = {"code": code, **{lang: translate(f"action.{code}", lang, reseller=name) for lang in LANGUAGES}}
    license_: dict[str, Json] = {
        "state": state,
        "reasons": [REASONS[state], Reason.UNREACHABLE_TCP],
        "permits": {**PERMITS[state]._asdict()},
        "reseller": contact,
        "next_action": action,
        "license": TERMS,
        "until": NOW + 5 * DAY if state is State.GRACE else None,
    }
    if state is State.UNLICENSED:
        license_ |= {"license": None, "reseller": None, "features": [], "limits": {}, "tier": None}
    parts: dict[str, Json] = {
        "last_check": {"at": NOW - DAY, "failure": "unreachable_tcp"},
        "renewal": {"next": NOW + DAY, "at": NOW, "failure": None},
        "isolation": {"level": "partial", "missing": ["network_namespace", "devices"]},
        "advisories": [{}],
    }
    return answer(**license_) | parts


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("state", State)
def test_status_has_fifteen_lines_of_eighty_columns_in_every_state(
    terminal: Terminal, state: State, lang: Language
) -> None:
    """What others show makes room; what is wrong, since when, whom to call and what to do stay."""
    terminal.lang = lang
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", troubled(state))
        out = terminal.type("status").out
        whole = terminal.type("status", "--json").json()["result"]
    lines = out.splitlines()
    assert len(lines) <= 15, out
    assert max(map(len, lines)) <= 80
    kept = {"en": ("License", "To do", "More"), "tr": ("Lisans", "Yapılacak", "Ayrıntı")}[lang]
    assert all(row(out, label) for label in kept), out
    assert REASONS[state] is Reason.OK or f"[{REASONS[state]}]" in out
    if state is not State.UNLICENSED:
        assert "+90 212 000 00 00" in " ".join(out.split()), "whom to call"
        assert moment(NOW + 363 * DAY) in out, "when it ends"
    assert whole["isolation"]["level"] == "partial", "a program gets everything"


def test_what_status_leaves_out_is_named_by_the_command_that_shows_it(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", troubled(State.SUSPENDED))
        more = row(terminal.type("status").out, "More")
        assert more is not None
    commands = more.split("; ")
    assert commands == [*dict.fromkeys(commands)]
    assert "license show" in commands
    for command in commands:
        found, _ = find(COMMANDS, command.split())
        assert found is not None, command


def test_what_ends_is_told_with_what_goes_on(terminal: Terminal) -> None:
    action = {"code": "contact_reseller", "tr": "Arayın.", "en": "Call Örnek Hosting."}
    out = ask(terminal, state="grace", reasons=["suspended"], until=NOW + 7200, next_action=action).out
    assert row(out, "License") == "grace period the reseller suspended the license [suspended]"
    ending = row(out, "Then")
    assert ending is not None
    assert ending.startswith(f"from {moment(NOW + 7200)} (in 2 hours), unless this is resolved: no new accounts")
    assert ending.endswith("sites, mail, backup, restore and export keep working")
    assert row(out, "To do") == "Call Örnek Hosting."
    permits = {"run": True, "change": True, "create": False, "paid_features": False}
    out = ask(terminal, state="suspended", reasons=["suspended"], until=None, permits=permits).out
    assert row(out, "Not permitted") == "creating accounts, domains, mailboxes and databases; paid features"
    assert row(out, "Keeps working") == "sites, mail, backup, restore, export; changing settings in the panel"
    assert row(ask(terminal).out, "Not permitted") is None


def test_the_screen_in_turkish(terminal: Terminal) -> None:
    terminal.lang = "tr"
    action = {"code": "contact_reseller", "tr": "Bayinizi arayın.", "en": "x"}
    out = ask(terminal, state="grace", reasons=["suspended"], next_action=action).out
    assert row(out, "Lisans") == "ek süre bayi lisansı askıya aldı [suspended]"
    assert row(out, "Yapılacak") == "Bayinizi arayın."
    assert row(ask(terminal).out, "Ret işaretleri") == "yok"


def test_what_cannot_be_read_has_a_row_as_long_as_it_leaves_the_server_open(terminal: Terminal) -> None:
    def unreadable(undecided: Any) -> str | None:
        parts = [{"part": part, "file": "/sys/a", "errno": "EIO"} for part in ("boot_disk", "root_fs_uuid")]
        with fake_daemon(terminal.paths.socket) as daemon:
            machine: dict[str, Any] = {"key": "ok", "unread": parts, "undecided": undecided}
            daemon.says("/v1/answer", answer() | {"machine": machine})
            return row(terminal.type("status").out, "Unreadable")

    shown = unreadable({"since": NOW, "grace": NOW + 7 * DAY, "until": NOW + 14 * DAY})
    assert shown is not None
    assert shown.startswith("the disk’s serial number, the file system UUID; everything stays permitted until ")
    assert shown.endswith("opanel-agent doctor")
    assert unreadable(None) is None
    for since, grace, until in ((-1, NOW, NOW), (NOW + 2, NOW + 1, NOW + 3), (NOW, NOW + 2, NOW + 1), (0, 1, 10**15)):
        assert unreadable({"since": since, "grace": grace, "until": until}) is None  # a moment that no calendar has


def test_what_is_sent_and_what_waits_has_its_row_in_each_state(terminal: Terminal) -> None:
    def rows(label: str, **parts: Any) -> str | None:
        with fake_daemon(terminal.paths.socket) as daemon:
            daemon.says("/v1/answer", answer() | parts)
            return row(terminal.type("status").out, label)

    assert rows("Last sent", last_left=None) == "nothing about this server"
    left: dict[str, Any] = dict(answer()["last_left"])  # type: ignore[arg-type]
    unanswered = left | {"stage": "attempted"}
    for last_left in (None, left):
        may = rows("Possibly sent", last_left=last_left, may_have_left=unanswered)
        assert may == "usage statistics, 24 hours ago; attempted, no reply: possibly sent"
    assert rows("Last sent", last_left=None, may_have_left=unanswered) is None
    refused = rows("Last sent", last_left=left | {"stage": "sent"})
    assert refused == "usage statistics, 24 hours ago; sent, not accepted"
    assert rows("Waiting", reports={"held": 1, "next": None}) == "reports: 1 (opanel-agent data held)"
    assert (
        rows("Waiting", reports={"held": 2, "next": NOW}) == f"reports: 2 (opanel-agent data held); next: {moment(NOW)}"
    )
    assert rows("Next report", reports={"held": 0, "next": NOW}) == moment(NOW)
    assert rows("Waiting", reports={"held": 0, "next": None}) is None
    assert rows("Next report", reports={"held": 0, "next": None}) is None
    assert rows("Advisories", advisories=[{}, {}]) == "2 in force (opanel-agent advisories)"
    assert rows("Advisories") is None
    found = Signal(kind=SignalKind.FILE, what="offline", place="/etc/opanel-agent")
    terminal.optouts.signals = Signals(offline=(found,))  # type: ignore[attr-defined]
    assert rows("Sends") == "nothing"


def test_a_check_that_may_not_be_made_is_not_announced(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer())
        assert row(terminal.type("status").out, "Last check") == f"{moment(NOW)} (just now); next: in 24 hours"
        terminal.optouts.signals = Signals(offline=(Signal(SignalKind.FILE, "offline", "/etc/opanel-agent"),))  # type: ignore[attr-defined]
        assert row(terminal.type("status").out, "Last check") == f"{moment(NOW)} (just now)"


def test_an_older_daemon_tells_nothing_of_reports_and_nothing_is_made_up(terminal: Terminal) -> None:
    older = {name: value for name, value in answer().items() if name not in OF_THE_PROMISE}
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", older)
        printed = terminal.type("status")
        metrics = terminal.type("status", "--metrics").out
    assert printed.status == 0
    assert "Last sent" not in printed.out
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
    assert [row(out, label) for label in ("Valid until", "License id", "Includes", "Reseller", "Then")] == [None] * 5


def test_a_reseller_without_any_contact_is_named(terminal: Terminal) -> None:
    out = ask(terminal, reseller={"name": "X", "email": None, "phone": None, "url": None}).out
    assert row(out, "Reseller") == "X"


def test_opt_outs_and_a_failed_check_are_said(terminal: Terminal) -> None:
    found = Signal(kind=SignalKind.FILE, what="offline", place="/etc/opanel-agent")
    terminal.optouts.signals = Signals(do_not_track=(found,), offline=(found,))  # type: ignore[attr-defined]
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer() | {"last_check": {"at": None, "failure": "unreachable_tcp"}})
        out = terminal.type("status").out
    place = "offline in /etc/opanel-agent"
    assert row(out, "Opt-outs") == f"offline: {place}; do-not-track: {place}"
    last = row(out, "Last check")
    assert last is not None
    assert last.startswith("never; last attempt failed: the server could not be reached")


def test_opt_outs_of_the_consent_files_and_of_the_panel_are_said(terminal: Terminal) -> None:
    """Each that denies is in the row: one that the daemon's own environment does not have, too."""
    paths = terminal.paths
    by_panel = Withdrawal(id="0" * 16, subject=Withdrawable.DO_NOT_TRACK, by=Origin.PANEL, at=NOW, grants=())
    WithdrawalStore(terminal.files, paths).write_agent(AgentRecord(withdrawals=(by_panel,)))
    terminal.files.make_dir(paths.consent_dir, mode=0o755)
    terminal.files.write(paths.consent_dir / "fleet.toml", b"schema = 1\ndo_not_track = true\n", mode=0o644)
    notice = f'schema = 1\nnotice = "{installed_notice()}"\ndo_not_track = true\n'
    terminal.files.write(paths.consent, notice.encode(), mode=0o644)
    opt_outs = row(ask(terminal).out, "Opt-outs")
    assert opt_outs is not None
    for place in (f"{paths.consent}, line 3", f"{paths.consent_dir / 'fleet.toml'}, line 2", "in the panel on"):
        assert place in opt_outs.replace(" (", ", ")


def test_the_envelope_holds_the_whole_answer(terminal: Terminal) -> None:
    printed = ask(terminal, "--json")
    envelope = printed.json()
    assert set(envelope["result"].pop("consent")["purposes"]) == {*POLICIES}  # computed when asked
    expected = {name: value for name, value in answer().items() if name != "consent"}
    assert envelope == {"schema": 1, "result": expected, "warnings": [], "errors": []}


def test_codes_of_a_newer_daemon_and_members_that_it_added_do_no_harm(terminal: Terminal) -> None:
    printed = ask(terminal, state="hovering", reasons=["of_tomorrow"], surprise={"x": [1]})
    assert printed.status == 0
    assert row(printed.out, "License") == "hovering of_tomorrow [of_tomorrow]"


def test_without_a_daemon_the_last_answer_is_shown_as_such(terminal: Terminal) -> None:
    leave(terminal)
    printed = terminal.type("status")
    assert printed.status == 0
    assert row(printed.out, "License") == "active"
    assert printed.err.startswith("warning: opanel-agent is not running; this is its last answer")
    printed_json = terminal.type("status", "--json").json()
    assert [warning["code"] for warning in printed_json["warnings"]] == ["not_running"]


def test_a_daemon_that_cannot_answer_yet_is_not_covered_up(terminal: Terminal) -> None:
    leave(terminal)
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says_raw("/v1/answer", problem(503, "not_yet"))
        assert terminal.type("status").status == 75


def test_a_daemon_that_answers_nonsense_is_not_covered_up_either(terminal: Terminal) -> None:
    leave(terminal)
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says_raw("/v1/answer", CannedReply(body=b"?"))
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


def test_check_says_when_the_license_ends_with_figures_and_no_word_of_the_isolation(terminal: Terminal) -> None:
    terms: Json = {"expires": NOW + 363 * DAY + 5, "offline_until": NOW + 30 * DAY}
    members: dict[str, Any] = {"license": terms, "tier": "pro", "reasons": ["isolation_none"], "warnings": []}
    printed = ask(terminal, "--check", last_success=NOW - 600, **members)
    assert printed.out == (
        f"OPANEL OK - active; tier pro, valid until {day(NOW + 363 * DAY + 5)} (in 364 days)"
        " | days_left=364;;;0 offline_days_left=30;;;0 check_age=600s;;;0\n"
    )
    grace = ask(terminal, "--check", state="grace", last_success=None, **members | {"reasons": ["suspended"]})
    assert grace.out.startswith("OPANEL WARNING - grace period: the reseller suspended the license; tier pro")
    assert "check_age" not in grace.out


def test_metrics_tell_when_the_license_ends_and_is_renewed(terminal: Terminal) -> None:
    terms: Json = {"expires": NOW + 363 * DAY + 5, "renews_from": NOW + 250 * DAY, "offline_until": None}
    with fake_daemon(terminal.paths.socket) as daemon:
        renewal: Json = {"at": NOW - DAY, "next": NOW + DAY, "failure": "rate_limited"}
        daemon.says("/v1/answer", answer(license=terms) | {"renewal": renewal})
        lines = samples(terminal.type("status", "--metrics").out)
    for line in (
        f"opanel_agent_license_expires_seconds {NOW + 363 * DAY + 5}",
        f"opanel_agent_license_expires_left_seconds {363 * DAY + 5}",
        f"opanel_agent_license_renews_from_seconds {NOW + 250 * DAY}",
        f"opanel_agent_renewal_seconds {NOW - DAY}",
        f"opanel_agent_renewal_next_seconds {NOW + DAY}",
        "opanel_agent_renewal_failed 1",
    ):
        assert line in lines
    assert not any("offline" in line.partition(" ")[0] for line in lines)


def test_every_reason_but_three_is_a_warning(terminal: Terminal) -> None:
    well = {reason for reason in Reason if ask(terminal, "--check", reasons=[str(reason)]).status == 0}
    assert well == {Reason.OK, Reason.ISOLATION_NONE, Reason.ISOLATION_PARTIAL}


@pytest.mark.parametrize(
    ("isolation", "text"),
    [
        ({"level": "kernel", "missing": []}, "kernel; all sandbox restrictions are active"),
        (
            {"level": "partial", "missing": ["network_namespace", "devices", "a_newer_wall"]},
            "partial; not active: private network namespace, private /dev, a_newer_wall",
        ),
        ({"level": "partial"}, "partial"),
        ({"level": "floating", "missing": []}, "floating"),
    ],
)
def test_the_isolation_and_what_is_missing_of_it(terminal: Terminal, isolation: dict[str, Any], text: str) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", {**answer(), "isolation": isolation})
        assert row(terminal.type("status").out, "Isolation") == text


def test_an_evaluation_that_failed_is_told_beside_the_answer(terminal: Terminal) -> None:
    trouble = Storage(Fault.DISK_FULL, "disk_full", file="/var/lib/opanel-agent/clock.json", errno="ENOSPC").to_json()
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer() | {"trouble": trouble})
        printed = terminal.type("status")
        assert (printed.status, row(printed.out, "License")) == (0, "active")
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


@pytest.mark.parametrize("lang", LANGUAGES)
def test_refused_settings_are_told_with_line_and_cure(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    terminal.paths.config_dir.mkdir(exist_ok=True, mode=0o700)
    terminal.paths.settings.write_text("schema = 1\nproxie = 1\n")
    terminal.paths.settings.chmod(0o600)
    out = " ".join(ask(terminal).out.split())
    assert "“proxie”" in out
    assert {"en": "line: 2", "tr": "satır: 2"}[lang] in out
    assert "man 5 opanel-agent" in out


def test_check_knows_nothing_where_nobody_answers(terminal: Terminal) -> None:
    printed = terminal.type("status", "--check")
    assert printed.status == 3
    assert printed.out == "OPANEL UNKNOWN - cannot reach opanel-agent: it is not running\n"
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says_raw("/v1/answer", CannedReply(body=b"?"))
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
    assert f'opanel_agent_request_seconds{{stage="sealed"}} {NOW}' in lines
    assert f'opanel_agent_request_seconds{{stage="answered"}} {NOW - DAY}' in lines
    assert not [line for line in lines if 'stage="attempted"' in line]
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
    with fake_daemon(terminal.paths.socket) as daemon:
        failure = {"kind": "Storage", "code": "disk_full", "detail": "disk_full", "values": {}}
        parts: dict[str, Any] = {"last_check": {"at": None, "failure": "unreachable_dns"}, "trouble": failure}
        daemon.says("/v1/answer", answer(last_success=None, until=NOW) | parts)
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
    families_by_name = {family.name: family for family in parser.text_string_to_metric_families(texts[1])}
    assert [each.labels["reason"] for each in families_by_name["opanel_agent_license_reason"].samples] == ['a"b\\c\nd']
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


@pytest.mark.parametrize("command", [("status",), ("license", "show")])
def test_when_the_license_ends_is_said_with_which_it_is(terminal: Terminal, command: tuple[str, ...]) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer(license=TERMS))
        printed = terminal.type(*command)
        ending = f"{moment(NOW + 363 * DAY)} (in 363 days), renewable from 2027-08-01"
        assert row(printed.out, "Valid until") == ending
        assert row(printed.out, "License id") == "0f8fad5b-d9cb-469f-a165-70867728950e"
        daemon.replies.clear()
        daemon.says("/v1/answer", answer())
        assert row(terminal.type(*command).out, "Valid until") is None


def test_license_show_has_every_date_and_who_vouches_for_it(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer(license=TERMS))
        out = terminal.type("license", "show").out
    assert row(out, "Issued") == f"{moment(NOW - DAY)} (24 hours ago)"
    assert row(out, "Renewable from") == f"{moment(NOW + 250 * DAY)} (in 250 days)"
    assert row(out, "Check by") == f"{moment(NOW + 30 * DAY)} (in 30 days)"
    assert row(out, "State changes") == f"{moment(NOW + 300 * DAY)} (in 300 days)"
    assert row(out, "Root of trust") == "urn:opanel:demo (SHA-256 abababababababab…)"
    assert row(out, "Answer valid until") == f"{moment(NOW + 7 * DAY)} (in 7 days)"


def test_a_license_that_ended_says_so(terminal: Terminal) -> None:
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answer(license=TERMS | {"expires": NOW - 3 * DAY, "renews_from": NOW - 90 * DAY}))
        out = terminal.type("status").out
    assert row(out, "Valid until") is None
    assert row(out, "Expired") == f"{moment(NOW - 3 * DAY)} (3 days ago)"
