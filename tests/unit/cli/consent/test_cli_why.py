"""`consent show | why | check`: every reason with its place, and what a file would change before it is in force."""

from pathlib import Path
from typing import Any

import pytest

from fixtures.command_line import SetSignals, Terminal
from fixtures.daemon.fake_daemon import answer, fake_daemon
from fixtures.data.written_consents import NOTICE, write
from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.consent.gate import Signal, SignalKind, Signals
from opanel_agent.core.consent.purposes import CONSENT_BASED, Purpose
from opanel_agent.core.units import LANGUAGES, Language

USAGE, CRASH = Purpose.USAGE_STATISTICS, Purpose.CRASH_REPORTS


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    terminal = Terminal(folder=tmp_path)
    terminal.paths.config_dir.mkdir(mode=0o755)
    return terminal


def signal(place: str, line: int | None = None) -> Signal:
    return Signal(kind=SignalKind.ENVIRONMENT, what="DO_NOT_TRACK=1", place=place, line=line)


# show and why


def test_show_tells_every_purpose_with_file_line_and_reasons(terminal: Terminal) -> None:
    write(terminal, usage="true")
    printed = terminal.type("consent", "show")
    assert printed.status == 0
    result = terminal.type("consent", "show", "--json").json()["result"]
    assert list(result["purposes"]) == [*Purpose]
    assert result["purposes"][USAGE] == {
        "purpose": "usage_statistics",
        "permitted": True,
        "reasons": [],
        "allow": True,
        "line": 5,
        "hold_s": 86_400,
        "review": False,
    }
    file = str(terminal.paths.consent)
    assert result["purposes"][CRASH]["reasons"] == [
        {"reason": "denied_by_file", "what": "allow = false", "place": str(file), "line": 9}
    ]
    assert result["purposes"]["license_status"]["permitted"]
    assert result["notice"] == result["installed_notice"] == NOTICE
    assert "allow" not in result["purposes"]["license_status"]
    assert rows(printed.out) == {
        "license_status": "[license] check yes",
        "security_advisories": "advisories yes",
        "license_renewal": "[license] renew yes",
        "license_activation": "your command yes",
        "usage_statistics": "consent.toml, line 5 yes each report is held for 24 hours",
        "crash_reports": "consent.toml, line 9 no the administrator denied it",
        "data_rights": "your command yes",
    }


def rows(out: str) -> dict[str, str]:
    """The table below its head: each purpose, and the other cells with one space between them."""
    table = [line for line in out.split("\n\n")[-2].splitlines()[1:] if not line.startswith(" ")]
    return {line.split()[0]: " ".join(line.split()[1:]) for line in table}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_show_is_a_table_of_seven_rows_that_fit_on_a_terminal(terminal: Terminal, lang: Language) -> None:
    terminal.lang = lang
    for answers in ({}, {"usage": "true"}, {"crash": "true"}):
        if answers:
            write(terminal, **answers)
        out = terminal.type("consent", "show").out
        assert list(rows(out)) == [*Purpose]
        assert max(map(len, out.split("\n\n")[-2].splitlines())) <= 80


def test_show_says_that_a_crash_report_is_looked_at_first(terminal: Terminal) -> None:
    write(terminal, crash="true")
    assert rows(terminal.type("consent", "show").out)[CRASH] == "consent.toml, line 9 yes you review each report first"


def test_show_counts_the_reasons_that_it_does_not_name(terminal: Terminal) -> None:
    write(terminal, notice="2020-01-01")
    terminal.optouts = SetSignals()
    terminal.optouts.signals = Signals(do_not_track=(signal("/etc/environment", 3),))
    found = terminal.type("consent", "show").out
    assert rows(found)[USAGE].endswith("no do-not-track is in force (+2)")


def test_show_where_nobody_answered(terminal: Terminal) -> None:
    printed = terminal.type("consent", "show")
    assert "No answers yet" in printed.out
    assert [rows(printed.out)[each].startswith("not answered no") for each in CONSENT_BASED] == [True, True]
    assert terminal.type("consent", "show", "--json").json()["result"]["notice"] is None


def test_show_and_why_tell_a_refused_file_with_line_and_cure(terminal: Terminal) -> None:
    write(terminal, usage="1")
    for argv in (("show",), ("why", "usage_statistics")):
        out = terminal.type("consent", *argv).out
        assert "“purposes.usage_statistics.allow” is of the wrong type" in out
        assert "line: 5" in out or "line 5" in out
        assert "true and false are written without quotation marks" in out
        assert "No answers yet" not in out


def test_show_names_who_granted(terminal: Terminal) -> None:
    text = write(terminal, usage="true") + '[granted]\nby = "Ayşe Yılmaz"\nrole = "CTO"\non = "2026-12-02"\n'.encode()
    terminal.paths.consent.write_bytes(text)
    assert "Granted by Ayşe Yılmaz, CTO, on 2026-12-02" in terminal.type("consent", "show").out


def test_why_names_every_reason_and_exits_1(terminal: Terminal) -> None:
    write(terminal, notice="2020-01-01")
    terminal.optouts = SetSignals()
    terminal.optouts.signals = Signals(do_not_track=(signal("/etc/environment", 3),), offline=(signal("/x"),))
    printed = terminal.type("consent", "why", "usage_statistics")
    result = terminal.type("consent", "why", "usage_statistics", "--json").json()["result"]
    assert printed.status == 1
    assert {each["reason"] for each in result["reasons"]} == {"opt_out", "offline", "denied_by_file", "notice_changed"}
    assert "DO_NOT_TRACK=1 in /etc/environment, line 3" in printed.out
    assert f"allow = false in {terminal.paths.consent}, line 5" in printed.out


def test_in_turkish_every_place_is_turkish(terminal: Terminal) -> None:
    write(terminal)
    terminal.lang = "tr"
    terminal.optouts = SetSignals()
    here = signal("the process environment")
    terminal.optouts.signals = Signals(do_not_track=(signal("/etc/environment", 3), here), offline=(signal("/x"),))
    printed = terminal.type("consent", "why", "usage_statistics").out
    assert "(/etc/environment, satır 3: DO_NOT_TRACK=1)" in printed
    assert "(hizmetin ortam değişkenleri: DO_NOT_TRACK=1)" in printed
    assert f"({terminal.paths.consent}, satır 5: allow = false)" in printed
    assert " in " not in printed


def test_a_policy_that_cannot_be_read_is_named_with_its_cure(terminal: Terminal) -> None:
    write(terminal, usage="true")
    policies = terminal.paths.consent_dir
    policies.mkdir(mode=0o755)
    assert terminal.type("consent", "why", USAGE).status == 0
    (policies / "fleet.conf").write_text("schema = 1\n")
    (policies / "fleet.toml.bak").write_text("schema = 1\n")
    for argv in (("why", USAGE), ("show",)):
        words = " ".join(terminal.type("consent", *argv).out.split())
        assert f"cannot use {policies}/fleet.conf as a policy: its name does not end in .toml" in words
        assert "Rename it to end in .toml" in words
        assert f"Ignored because of its name: {policies}/fleet.toml.bak" in words
    (policies / "fleet.conf").unlink()
    permitted = terminal.type("consent", "why", USAGE)
    assert permitted.status == 0
    assert "fleet.toml.bak" in permitted.out


def test_policies_that_a_link_lost_are_a_no_for_everything(terminal: Terminal) -> None:
    write(terminal, usage="true", crash="true")
    terminal.paths.consent_dir.symlink_to(terminal.folder / "policies")
    for purpose in CONSENT_BASED:
        printed = terminal.type("consent", "why", purpose)
        assert printed.status == 1
        words = " ".join(printed.out.split())
        assert f"cannot read {terminal.paths.consent_dir}: it is a link to something that does not exist" in words
        assert "remove the link" in words


def test_why_of_what_is_permitted_says_what_a_report_waits_for(terminal: Terminal) -> None:
    write(terminal, usage="true", crash="true")
    usage, crash, status = (terminal.type("consent", "why", each) for each in (USAGE, CRASH, Purpose.LICENSE_STATUS))
    assert (usage.status, crash.status, status.status) == (0, 0, 0)
    assert "is held for 24 hours first" in usage.out
    assert "is held until you have reviewed and released it" in crash.out
    assert "waits" not in status.out


def test_refused_settings_are_a_reason_for_every_purpose(terminal: Terminal) -> None:
    write(terminal, usage="true")
    terminal.paths.settings.write_text("schema = 2\n")
    terminal.paths.settings.chmod(0o600)
    result = terminal.type("consent", "show", "--json").json()["result"]["purposes"]
    assert all("settings_refused" in {each["reason"] for each in result[purpose]["reasons"]} for purpose in Purpose)


def test_what_only_the_agent_knows_is_added(terminal: Terminal) -> None:
    """Its ledger, a copied machine, and the variables that it was started with; what it says of files is stale by now."""
    write(terminal, usage="true")
    reasons: list[Json] = [
        {"reason": "ledger", "what": None, "place": "review_due", "line": None},
        {"reason": "clone", "what": None, "place": "machine identity", "line": None},
        {"reason": "opt_out", "what": "DO_NOT_TRACK=1", "place": "the process environment", "line": 1},
        {"reason": "denied_by_file", "what": "allow = false", "place": "consent.toml", "line": 5},
        {"reason": "of_tomorrow", "what": None, "place": "x", "line": None},
        {"reason": "ledger", "what": None, "place": 7, "line": None},
        "garbled",
    ]
    answered: dict[str, Any] = answer()
    answered["consent"]["purposes"]["usage_statistics"] = {"permitted": False, "reasons": reasons}
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answered)
        printed = terminal.type("consent", "why", "usage_statistics", "--json")
    assert printed.status == 1
    assert printed.json()["result"]["reasons"] == reasons[:3]


@pytest.mark.parametrize("odd", [None, [], {}, {"usage_statistics": None}, {"usage_statistics": {"reasons": None}}])
def test_an_agent_that_tells_nothing_of_it_objects_to_nothing(terminal: Terminal, odd: Json) -> None:
    write(terminal, usage="true")
    answered: dict[str, Any] = answer()
    answered["consent"]["purposes"] = odd
    with fake_daemon(terminal.paths.socket) as daemon:
        daemon.says("/v1/answer", answered)
        assert terminal.type("consent", "why", "usage_statistics").status == 0


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
    assert "Changes it would make:" in printed.out
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
        ('schema = 1\nnotice = "2026-12-03"\n[purposes.usage_statistics]\nallow = "true"\n', "toml_type", 4),
        ('schema = 1\nnotice = "2026-12-03"\nallow_all = true\n', "toml_unknown", 3),
        ('schema = 2\nnotice = "2026-12-03"\n', "toml_schema", 1),
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
    too_long = f'schema = 1\nnotice = "{NOTICE}"\n' + "#" * 70_000
    assert check(terminal, too_long).status == 78
    assert terminal.type("consent", "check", "-", stdin=too_long.encode()).status == 78


def test_check_of_the_file_in_force_judges_whose_it_is_too(terminal: Terminal) -> None:
    assert terminal.type("consent", "check").status == 74
    write(terminal)
    good = terminal.type("consent", "check")
    assert (good.status, good.out) == (0, f"Valid: {terminal.paths.consent}\n")
    assert terminal.type("consent", "check", "-", stdin=terminal.paths.consent.read_bytes()).status == 0
    terminal.paths.consent.chmod(0o666)
    assert terminal.type("consent", "check").status == 78


def test_check_warns_of_grants_that_grant_nothing(terminal: Terminal) -> None:
    write(terminal, usage="true", notice="2020-01-01")
    printed = terminal.type("consent", "check")
    assert printed.status == 0
    assert "2020-01-01" in printed.err
    write(terminal, notice="2020-01-01")
    assert terminal.type("consent", "check").err == ""
