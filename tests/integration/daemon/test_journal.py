"""The journal: each change once, to its own socket, in the settings' language; and a bad day that floods nobody."""

import ast
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.daemon.live_daemon import Running, running
from fixtures.simulated.simulated_agent import STATUS_URL, Simulated
from opanel_agent import messages
from opanel_agent.core.units import LANGUAGES
from opanel_agent.daemon.loop import _locale
from opanel_agent.daemon.reporter import SENTENCES, Reporter
from opanel_agent.system import log
from opanel_agent.system.journal import MESSAGE_IDS, Journal, entry

ROOT = Path(__file__).parents[3]
HOUR, DAY = 3600.0, 86_400.0
OF_JOBS = set(MESSAGE_IDS) - set(SENTENCES)


class Heard(list[dict[str, Any]]):
    """A journal that remembers what it was told."""

    def log_event(self, event: str, **fields: Any) -> None:
        self.append({"event": event, **fields})

    @property
    def events(self) -> list[str]:
        return [str(each["event"]) for each in self]


@contextmanager
def journald(place: Path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as bound:
        bound.bind(str(place))
        bound.settimeout(10)
        yield bound


def fields(datagram: bytes) -> dict[str, str]:
    """As systemd.journal-fields(7) writes them."""
    found = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, has_value, value = line.partition(b"=")
        if not has_value:
            (length,) = struct.unpack("<Q", datagram[:8])
            value, datagram = datagram[8 : 8 + length], datagram[9 + length :]
        found[name.decode()] = value.decode()
    return found


def stream(descriptor: int) -> dict[str, str]:
    found = os.fstat(descriptor)
    return {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}


# the table


def test_every_event_is_in_the_table_and_no_other() -> None:
    assert events() == set(MESSAGE_IDS)
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)
    assert all(re.fullmatch(r"[0-9a-f]{32}", known) for known in MESSAGE_IDS.values())


def test_the_table_is_documented() -> None:
    text = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)` \| `([0-9a-f]{32})` \|", text, re.MULTILINE)) == MESSAGE_IDS


@pytest.mark.parametrize("event", sorted(OF_JOBS))
def test_every_event_of_a_job_has_a_sentence_in_both_languages(event: str) -> None:
    sentences = {messages.translate_event(event, lang, {}) for lang in LANGUAGES}
    assert len(sentences) == 2
    assert "" not in sentences


def test_an_event_of_tomorrow_has_no_sentence() -> None:
    assert messages.translate_event("of_tomorrow", "en", {}) == ""


def events() -> set[str]:
    """Every event that the source tells."""
    found: set[str] = set()
    for path in (ROOT / "agent/opanel_agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and {"evaluate", "network", "daemon"} & {*path.parts}:
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                at = {"log_event": 0, "event": 0, "_log_once": 1}.get(name)
                if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant):
                    found.add(str(node.args[at].value))  # type: ignore[attr-defined]
    return found


# the protocol


def test_an_entry_of_the_journal_s_own(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("wb") as stderr, journald(tmp_path / "j") as heard:
        journal = Journal(stream(stderr.fileno()), address=str(tmp_path / "j"), stderr=stderr.fileno())
        journal.write("license", level="warning", message="Süresi doldu.\nBaşka satır.", state="expired", count=2)
        entry_fields = fields(heard.recv(65536))
    assert entry_fields == {
        "MESSAGE": "Süresi doldu.\\u000aBaşka satır.",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "opanel-agent",
        "MESSAGE_ID": MESSAGE_IDS["license"],
        "OPANEL_EVENT": "license",
        "OPANEL_STATE": "expired",
        "OPANEL_COUNT": "2",
    }
    assert (tmp_path / "stderr").read_bytes() == b""


def test_without_a_sentence_the_text_is_the_line() -> None:
    entry_fields = fields(entry("of_tomorrow", "info", "", {"file": "a b"}))
    assert entry_fields["MESSAGE"] == 'event=of_tomorrow file="a b"'
    assert "MESSAGE_ID" not in entry_fields


@pytest.mark.parametrize("environment", [{}, {"JOURNAL_STREAM": "1:1"}, {"JOURNAL_STREAM": "nonsense"}])
def test_where_stderr_is_no_stream_of_the_journal_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    with journald(tmp_path / "j") as heard:
        Journal(environment, address=str(tmp_path / "j")).write("started", message="Läuft.", state="active")
        heard.setblocking(False)
        with pytest.raises(BlockingIOError):
            heard.recv(1)
    assert capsys.readouterr().err == "info: event=started state=active\n"


def test_where_nobody_listens_it_is_a_line_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "stderr").open("wb") as stderr:
        Journal(stream(stderr.fileno()), address=str(tmp_path / "none"), stderr=stderr.fileno()).write("started")
    assert capsys.readouterr().err == "info: event=started\n"


def test_a_closed_stderr_is_no_stream() -> None:
    Journal({"JOURNAL_STREAM": "1:1"}, stderr=987).write("started")


def test_the_lines_of_a_job_are_kept_for_the_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    with log.kept() as lines:
        log.log_event("purged", id="x")
    log.log_event("purged", id="y")
    assert lines == [("purged", "info", {"id": "x"})]
    assert capsys.readouterr().err == "info: event=purged id=y\n"


# what is told, and how often


def test_a_state_is_told_at_once_and_once() -> None:
    heard = Heard()
    reporter = Reporter(heard.log_event, "en")
    for at_s, state in enumerate(["active", "active", "grace", "active", "active"]):
        reporter.license(state, "ok", float(at_s))
    assert [(each["state"], each["was"]) for each in heard] == [
        ("active", "unknown"),
        ("grace", "active"),
        ("active", "grace"),
    ]
    assert [each["level"] for each in heard] == ["info", "warning", "info"]
    assert heard[1]["message"] == "The license is now grace: ok."


def test_reasons_that_come_and_go_are_told_once_an_hour_and_the_last_word_is_true() -> None:
    heard = Heard()
    reporter = Reporter(heard.log_event, "tr")
    for quarter in range(96):
        reporter.license("active", "ok" if quarter % 2 else "unreachable_tcp", quarter * HOUR / 4)
    reporter.license("active", "ok", DAY)
    reporter.license("active", "ok", DAY + HOUR)
    assert len(heard) <= 25
    assert heard[-1]["reasons"] == "ok"
    assert heard[-1]["message"] == "Lisansın durumu artık active: ok."


def test_trouble_is_told_when_it_comes_and_when_it_goes() -> None:
    heard = Heard()
    reporter = Reporter(heard.log_event, "en")
    for quarter in range(96):
        reporter.trouble("disk_full/disk_full" if 0 < quarter < 90 else "", quarter * HOUR / 4)
    assert [(each["event"], each.get("error")) for each in heard] == [
        ("job_failed", "disk_full/disk_full"),
        ("job_recovered", None),
    ]


def test_what_a_job_keeps_finding_is_told_once() -> None:
    heard = Heard()
    reporter = Reporter(heard.log_event, "en")
    for at in range(200):
        reporter.job_event("ledger_unusable", "error", "m", {"code": "io_failed"}, at * HOUR)
        reporter.job_event("purged", "info", "m", {"id": at}, at * HOUR)
        reporter.answer_not_written("io_failed", at * HOUR)
        reporter.no_answer("job_failed", at * HOUR)
    assert heard.events.count("ledger_unusable") == heard.events.count("answer_not_written") == 1
    assert heard.events.count("purged") == 200
    assert heard.events.count("no_answer") == 9, "once a day, while nothing is answered"
    reporter.job_event("ledger_unusable", "error", "m", {"code": "io_failed"}, 300 * HOUR)
    assert heard.events.count("ledger_unusable") == 2


def test_the_language_is_the_settings() -> None:
    heard = Heard()
    reporter = Reporter(heard.log_event, "en")
    for language in (None, "tr", None, "en"):
        reporter.set_language(language)
        reporter.event("job_recovered")
    english, turkish = SENTENCES["job_recovered"]
    assert [each["message"] for each in heard] == [english, turkish, turkish, english]


# whole days, with the real programs


def lived(agent: Simulated, reporter: Reporter, *, days: int = 1) -> None:
    """As the daemon would: a pass when evaluate says so, its lines and its answer to the reporter."""
    end_s = agent.clock.wall_s + days * DAY
    while agent.clock.wall_s < end_s:
        with log.kept() as lines:
            frame = agent.run("tick")
        now_s = float(agent.clock.wall_s)
        for each in lines:
            reporter.job_event(each[0], each[1], "", each[2], now_s)
        license_ = frame["answer"]["license"]
        reporter.trouble("", now_s)
        reporter.license(license_["state"], ", ".join(license_["reasons"]), now_s)
        agent.clock.advance(frame["next_run_s"])


def test_a_good_day_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    agent, heard = Simulated(), Heard()
    agent.install(signing.bundle())
    capsys.readouterr()
    lived(agent, Reporter(heard.log_event, "en"), days=3)
    assert heard.events == ["license"]
    assert capsys.readouterr().err == ""  # fetch and courier, whose stderr is their own unit's


@pytest.mark.slow
def test_a_bad_day_does_not_flood(capsys: pytest.CaptureFixture[str]) -> None:
    """Suspended, so asked every 15 minutes; and the mirror answers none of it."""
    agent, heard = Simulated(), Heard()
    agent.install(signing.bundle())
    agent.publish({signing.LICENSE_IDX: 2})
    agent.run("refresh")
    agent.network.serve(STATUS_URL, b"<html>", "text/html")
    capsys.readouterr()
    asked = len(agent.network.sent)
    lived(agent, Reporter(heard.log_event, "en"))
    assert len(agent.network.sent) - asked > 50
    assert len(heard) <= 6  # the state, and each reason as it comes
    assert capsys.readouterr().err == ""


def test_the_units_of_single_requests_tell_only_what_is_wrong() -> None:
    """Systemd's own lines about a unit count too: a start and an end for each request."""
    for name in ("fetch", "courier"):
        text = (ROOT / f"systemd/opanel-agent-{name}@.service").read_text()
        assert "\nLogLevelMax=notice\n" in text


# a real daemon under a journal


def test_a_real_daemon_tells_the_journal(tmp_path: Path) -> None:
    place = tmp_path / "r"
    job = """
frame = {"schema": 1, "ok": True, "error": None, "next_run_s": 3600, "result": None, "language": "tr"}
frame["journal"] = [{"event": "purged", "level": "info", "message": "Silindi.", "fields": {"id": "x"}}]
frame["answer"] = {"schema": 1, "license": {"state": "grace", "reasons": ["a", "b"]}, "consent": {}}
print(json.dumps(frame))
"""
    with running(place, job) as daemon:
        daemon.wait()
    found = log_lines(daemon)
    assert found == [
        "event=started state=unknown",
        "event=purged state=unknown id=x",
        'event=license state=grace was=unknown reasons="a, b"',
    ]


def log_lines(daemon: Running) -> list[str]:
    return [line.partition(": ")[2] for line in daemon.log.splitlines()]


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "tr_TR.UTF-8"}, "tr"),
        ({"LC_ALL": "C", "LANG": "tr_TR.UTF-8"}, "en"),
        ({"LC_ALL": "", "LC_MESSAGES": "TR", "LANG": "C"}, "tr"),
    ],
)
def test_until_the_settings_are_known_the_locale_counts(environment: dict[str, str], language: str) -> None:
    assert _locale(environment) == messages.language(None, None, environment) == language
