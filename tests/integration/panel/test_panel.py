"""The two examples for panels, run as a panel would run them: against daemons real and rude, and against none.

Each example is a library whose clock is an argument, so weeks of silence cost nothing. What is expected is said once here,
for both languages: a panel in PHP and one in Node.js must not judge a server differently.
"""

import json
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

import pytest

from fixtures.daemon import wire_server
from fixtures.daemon.fake_daemon import DAY, NOW, fake_daemon, license_, problem
from fixtures.daemon.live_agent import live_agent
from fixtures.daemon.live_daemon import running
from fixtures.daemon.wire_server import Script
from fixtures.data.json_schema import named
from fixtures.web.panel import ROOT, Panel, in_turn, permits, started
from opanel_agent.core.license.states import PERMITS, Permits, State

pytestmark = pytest.mark.slow  # each test starts PHP or Node

HOUR: Final = 3600
GOOD_UNTIL: Final = NOW + 7 * DAY
GRACE_ENDS: Final = GOOD_UNTIL + 14 * DAY


# the page about them


def rows(heading: str) -> list[list[str]]:
    """The cells of the table that begins with this heading."""
    page = (ROOT / "docs" / "panel-integration.md").read_text(encoding="utf-8")
    table = page.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[2:]]


def test_the_table_of_states_is_the_code_s() -> None:
    names = ("run", "change", "create", "paid_features")
    assert {row[0].strip("`"): row[1:] for row in rows("state")} == {
        str(state): ["yes" if getattr(PERMITS[state], name) else "no" for name in names] for state in State
    }


def test_every_action_needs_one_permit_and_what_is_always_allowed_is_there() -> None:
    actions = rows("action")
    assert {permit for _, permit in actions} == {"`run`", "`change`", "`create`", "`paid_features`"}
    always = "\n".join(action for action, permit in actions if permit == "`run`")
    form = (ROOT / "docs" / "license-format.md").read_text(encoding="utf-8")
    listed = re.search(r"\*run\* is (.*?), in every state", form, re.DOTALL)
    assert listed is not None
    words = re.split(r",\s+|\s+and\s+", listed[1])
    assert [word for word in words if word.removesuffix("s") not in always] == ["administrator login"]
    assert "log in as administrator" in always


# the agent answers


def test_the_answer_is_passed_on_whole(panel: Panel) -> None:
    sent = license_(state="grace", reasons=["suspended"], invented_by_a_later_version=[1])
    with fake_daemon(panel.socket) as daemon:
        daemon.says("/v1/license", sent)
        answer = panel.at(NOW)
    assert answer.license == {**sent, "source": "agent", "failure": None, "kept": True}
    assert [(asked.method, asked.path, asked.body) for asked in daemon.asked] == [("GET", "/v1/license", b"")]


def test_the_hint_is_the_agent_s_own_in_the_reader_s_language(panel: Panel) -> None:
    with fake_daemon(panel.socket) as daemon:
        daemon.says("/v1/license", license_())
        assert (panel.at(NOW).tr, panel.at(NOW).en) == (None, None)
    with fake_daemon(panel.socket) as daemon:
        daemon.says("/v1/license", license_(next_action={"code": "renew", "tr": "Yenileyin.", "en": "Renew."}))
        answer = panel.at(NOW)
    assert (answer.tr, answer.en) == ("Yenileyin.", "Renew.")


def test_it_asks_again_while_too_many_ask(panel: Panel) -> None:
    with fake_daemon(panel.socket) as daemon:
        for _ in range(3):
            daemon.says_raw("/v1/license", problem(503, "busy"))
        daemon.says("/v1/license", license_())
        assert panel.at(NOW).gist == ("agent", "active")
    assert len(daemon.asked) == 4


def test_it_asks_again_where_it_is_turned_away_at_the_door(panel: Panel) -> None:
    """The daemon answers a connection too many and closes it, without waiting for the request."""
    refused = wire_server.answer("503 Service Unavailable", JSON, body=b'{"code": "busy"}')

    def door(listener: socket.socket) -> None:
        for _ in range(5):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(refused)
        connection, _ = listener.accept()
        with connection:
            wire_server.read_request(connection)
            connection.sendall(wire_server.answer("200 OK", JSON, body=GOOD))

    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as threads:
        listener.bind(str(panel.socket))
        listener.listen()
        listener.settimeout(30)
        opened = threads.submit(door, listener)
        assert panel.at(NOW).gist == ("agent", "active")
        opened.result()


def test_a_page_writes_only_what_is_new(panel: Panel) -> None:
    def kept() -> tuple[int, bytes]:
        return panel.file.stat().st_ino, panel.file.read_bytes()

    with fake_daemon(panel.socket) as daemon:
        daemon.says("/v1/license", license_())
        panel.at(NOW)
        first = kept()
        panel.ask(NOW, NOW + 1, NOW + HOUR - 1)
        assert kept() == first
        panel.at(NOW + HOUR)
        hourly = kept()
        assert hourly != first
        daemon.replies.clear()
        daemon.says("/v1/license", license_(state="grace"))
        panel.at(NOW + HOUR)
        assert kept()[1] != hourly[1]
    assert panel.file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in panel.folder.iterdir()) == ["license.last"]


def test_many_pages_at_once_leave_one_whole_file(panel: Panel) -> None:
    with ExitStack() as stack:
        panels = [replace(panel, program=stack.enter_context(started(panel.program.command))) for _ in range(4)]
        daemon = stack.enter_context(fake_daemon(panel.socket))
        threads = stack.enter_context(ThreadPoolExecutor(4))
        daemon.says("/v1/license", license_())
        pages = [*threads.map(lambda each: each.ask(*range(NOW, NOW + 40 * HOUR, HOUR)), panels)]
    assert {answer.gist for answers in pages for answer in answers} == {("agent", "active")}
    assert panel.at(NOW).gist == ("file", "active")
    assert [path.name for path in panel.folder.iterdir()] == ["license.last"]


# the agent is silent


def test_the_ladder_of_silence(panel: Panel) -> None:
    panel.remember()
    steps = panel.ask(NOW, GOOD_UNTIL - 1, GOOD_UNTIL, GRACE_ENDS - 1, GRACE_ENDS, GRACE_ENDS + 4000 * DAY)
    assert [answer.gist[1] for answer in steps] == ["active", "active", "grace", "grace", "expired", "expired"]
    for answer in steps:
        assert answer.license["source"] == "file"
        assert answer.license["permits"] == permits(State(answer.license["state"]))
        assert answer.license["reasons"] == ["agent_silent"]
        assert answer.failed("stopped")
        # what the license holds stays: whom to call, what it limits
        assert {name: answer.license[name] for name in ("features", "limits", "reseller")} == {
            name: license_()[name] for name in ("features", "limits", "reseller")
        }
    spans = [(answer.license["since"], answer.license["until"]) for answer in steps]
    assert spans[1:5:2] == [(NOW - DAY, NOW + 300 * DAY), (GOOD_UNTIL, GRACE_ENDS)]
    assert spans[4] == (GRACE_ENDS, None)


def test_an_answer_that_ends_sooner_is_relied_on_no_longer(panel: Panel) -> None:
    panel.remember(until=NOW + HOUR, good_until=NOW + HOUR)
    answers = panel.ask(NOW + HOUR - 1, NOW + HOUR, NOW + HOUR + 14 * DAY)
    assert [each.gist[1] for each in answers] == ["active", "grace", "expired"]


def test_an_answer_that_was_old_when_it_was_heard_grows_no_younger(panel: Panel) -> None:
    panel.remember(NOW + DAY)
    assert [each.gist[1] for each in panel.ask(GOOD_UNTIL - 1, GOOD_UNTIL, GRACE_ENDS)] == [
        "active",
        "grace",
        "expired",
    ]


@pytest.mark.parametrize("state", State)
def test_silence_never_permits_more_than_the_last_answer(panel: Panel, state: State) -> None:
    panel.remember(state=str(state), permits=permits(state), reasons=["expired"])
    last = PERMITS[state]
    for answer in panel.ask(NOW, GOOD_UNTIL, GRACE_ENDS):
        now = answer.permits
        assert now.run
        assert not now.change or last.change
        assert not now.create or last.create
        assert not now.paid_features or last.paid_features
        assert answer.license["reasons"] == ["agent_silent", "expired"]
        assert answer.failed("stopped")
        if not last.create:
            assert (answer.license["state"], now) == (str(state), last)


def test_every_permit_is_taken_away_by_itself(panel: Panel) -> None:
    panel.remember(permits={"run": False, "change": False, "create": True, "paid_features": False})
    answers = panel.ask(NOW, GOOD_UNTIL, GRACE_ENDS)
    # Sites run all the same, whatever was told.
    assert [each.permits for each in answers] == [Permits(create=True), Permits(create=True), Permits()]
    panel.remember(permits={"run": True, "change": True, "create": False, "paid_features": True})
    assert panel.at(GRACE_ENDS).permits == Permits(change=True)


def test_the_agent_s_next_answer_ends_it(panel: Panel) -> None:
    panel.remember()
    assert panel.at(GRACE_ENDS).gist == ("file", "expired")
    panel.remember(GRACE_ENDS + 5, as_of=GRACE_ENDS, good_until=GRACE_ENDS + 7 * DAY)
    assert panel.at(GRACE_ENDS + 10).gist == ("file", "active")


def test_a_server_that_never_heard_from_its_agent_runs_and_changes(panel: Panel) -> None:
    answer = panel.at(NOW)
    assert answer.gist == ("none", "expired")
    assert answer.license["permits"] == permits(State.EXPIRED)
    assert answer.license["kept"] is False
    assert answer.failed("stopped")
    assert answer.license.keys() == {*named("license")["required"], "source", "failure", "kept"}


# clocks


def test_a_clock_set_back_gains_nothing(panel: Panel) -> None:
    panel.remember()
    answers = panel.ask(GOOD_UNTIL + DAY, NOW, 0, GRACE_ENDS, NOW, GOOD_UNTIL)
    assert [each.gist[1] for each in answers] == ["grace", "grace", "grace", "expired", "expired", "expired"]


def test_a_clock_that_was_back_already_when_the_agent_answered_gains_nothing_either(panel: Panel) -> None:
    """The agent's own time does not go back with the wall clock, so `good_until` lies far ahead of what that says."""
    wall = NOW - 400 * DAY
    panel.remember(wall)
    ends = wall + 7 * DAY
    answers = panel.ask(wall, ends - 1, ends, ends + HOUR, wall, ends + 14 * DAY - 1, ends + 14 * DAY, NOW + DAY)
    assert [each.gist[1] for each in answers] == ["active"] * 2 + ["grace"] * 4 + ["expired"] * 2


def test_a_clock_set_forward_by_mistake_costs_nothing_once_the_agent_answers(panel: Panel) -> None:
    panel.remember()
    assert panel.at(NOW + 9999 * DAY).gist == ("file", "expired")
    panel.remember(NOW + HOUR)
    assert panel.at(NOW + 2 * HOUR).gist == ("file", "active")


# a rude socket, and none

GOOD: Final = json.dumps(license_()).encode()
JSON: Final = "Content-Type: application/json"


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> Script:
    return wire_server.sends(wire_server.answer(status, JSON, body=body, length=length))


def changed(**members: Any) -> bytes:
    return json.dumps(license_(**members)).encode()


RUDE: Final[dict[str, Script]] = {
    "silent": wire_server.is_silent,
    "closes": wire_server.sends(b""),
    "garbage": wire_server.sends(bytes(range(256)) * 40),
    "another protocol": wire_server.sends(b"220 mail.example ESMTP\r\n"),
    "a head without end": wire_server.floods(b"HTTP/1.1 200 OK\r\n", piece=b"X-Filler: " + b"x" * 4000 + b"\r\n"),
    "a body without end": wire_server.floods(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", piece=b" " * 65536),
    "a byte now and then": wire_server.dribbles(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", piece=b" "),
    "cut short": http(GOOD, length=len(GOOD) + 1),
    "no length": wire_server.sends(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD),
    "a huge length": wire_server.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n" + GOOD),
    "not yet": http(b'{"status": 503, "code": "not_yet"}', "503 Service Unavailable"),
    "busy for ever": http(b'{"status": 503, "code": "busy"}', "503 Service Unavailable"),
    "an error with a license": http(GOOD, "500 Internal Server Error"),
    "an error that is no JSON": http(b"<h1>503</h1>", "503 Service Unavailable"),
    "a page": http(b"<html>200 OK</html>"),
    "not UTF-8": http(GOOD.replace(b'"tier"', b'"\xff"')),
    "nothing": http(b""),
    "null": http(b"null"),
    "a list": http(b"[]"),
    "deep": http(b"[" * 100_000),
    "another schema": http(changed(schema=2)),
    "a state that is no text": http(changed(state=1)),
    "reasons that are no list": http(changed(reasons={"code": "ok"})),
    "a reason that is no text": http(changed(reasons=[1])),
    "features of numbers": http(changed(features=[1])),
    "no limits": http(changed(limits=None)),
    "permits that are text": http(changed(permits="run change create paid_features")),
    "a permit that is a text": http(changed(permits={**permits(State.ACTIVE), "create": "true"})),
    "a permit that is missing": http(changed(permits={"run": True, "change": True, "create": True})),
    "an action without Turkish": http(changed(next_action={"code": "none", "en": "Nothing."})),
    "an action that is a text": http(changed(next_action="none")),
    "a time that is a text": http(changed(as_of=str(NOW))),
    "a time before time": http(changed(as_of=-1, good_until=0)),
    "too large": http(changed(filler="x" * 300_000)),
    "good for too long": http(changed(good_until=NOW + 7 * DAY + 1)),
    "good for ever": http(changed(good_until=2**53)),
}

# Everything else there is an answer, and no valid one.
FAILURES: Final = {
    "silent": "hung",
    "a byte now and then": "hung",
    "closes": "busy",
    "cut short": "busy",
    "not yet": "not_ready",
    "busy for ever": "busy",
    "an error that is no JSON": "busy",
}


@pytest.mark.parametrize("name", RUDE)
def test_what_is_no_answer_is_silence(panel: Panel, name: str) -> None:
    panel.remember()
    kept = panel.file.read_bytes()
    failure = FAILURES.get(name, "invalid_answer")
    with wire_server.wire(RUDE[name], at=panel.socket):
        timeout_s = 0.2 if failure in ("hung", "busy") else 10  # those are waited for to the end
        answer = panel.at(NOW + 1, timeout_s=timeout_s)
    assert answer.gist == ("file", "active")
    assert answer.failed(failure)
    assert panel.file.read_bytes() == kept


def test_a_socket_nobody_listens_at_and_what_is_no_socket(panel: Panel) -> None:
    panel.remember()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(panel.socket))
    dead.close()
    assert panel.at(NOW).gist == ("file", "active")
    panel.socket.unlink()
    panel.socket.write_text("{}")
    assert panel.at(NOW).gist == ("file", "active")
    panel.socket.unlink()
    panel.socket.mkdir()
    assert panel.at(NOW).gist == ("file", "active")


# a damaged file

TIMES: Final = f"{NOW} {NOW}\n".encode()
LAST: Final = TIMES + GOOD
DAMAGED: Final = {
    "empty": b"",
    "cut": LAST[:-1],
    "no time": GOOD,
    "one time": f"{NOW}\n".encode() + GOOD,
    "a time before time": b"-" + LAST,
    "an endless number": b"9" * 400 + LAST,
    "a time that is none": b"9e9 9e9\n" + GOOD,
    "zeros": b"\0" * 4096,
    "not UTF-8": LAST.replace(b'"tier"', b'"\xff"'),
    "of another program": b"<?php return ['state' => 'active'];",
    "another's JSON": TIMES + b"{}",
    "huge": TIMES + changed(filler="x" * 2**20),
    "good for ever": TIMES + changed(good_until=2**53),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_no_answer_and_the_next_one_mends_it(panel: Panel, name: str) -> None:
    panel.file.write_bytes(DAMAGED[name])
    answer = panel.at(NOW)
    assert (answer.gist, answer.license["permits"]) == (("none", "expired"), permits(State.EXPIRED))
    assert answer.failed("stopped")
    panel.remember()
    assert panel.at(NOW).gist == ("file", "active")


def test_a_file_that_cannot_be_kept_is_said(panel: Panel) -> None:
    panel.file.mkdir()
    with fake_daemon(panel.socket) as daemon:
        daemon.says("/v1/license", license_())
        answer = panel.at(NOW)
    assert (answer.gist, answer.license["kept"]) == (("agent", "active"), False)
    assert [path.name for path in panel.folder.iterdir()] == ["license.last"]
    panel.file = panel.folder / "nowhere" / "license.last"
    assert panel.at(NOW).gist == ("none", "expired")


def test_a_pipe_in_the_file_s_place_makes_no_page_wait(panel: Panel) -> None:
    os.mkfifo(panel.file)
    assert panel.at(NOW).gist == ("none", "expired")


def test_a_last_answer_that_lies_where_nothing_can_be_written_counts(panel: Panel) -> None:
    panel.remember()
    panel.file.rename(panel.folder / "kept")
    panel.file.symlink_to(panel.folder / "kept")  # a link is read like what it leads to
    assert panel.at(NOW).gist == ("file", "active")


# real daemons

PRINTS_LICENSE: Final = """
import sys
license_ = json.loads({text!r})
answer = {{"schema": 1, "license": license_, "consent": {{}}, "advisories": []}}
print(json.dumps({{"schema": 1, "ok": True, "error": None, "answer": answer, "next_run_s": 3600, "result": None}}))
"""


def test_a_real_daemon_is_understood(panel: Panel) -> None:
    directory = panel.folder / "run"
    panel.socket = directory / "agent.sock"
    with running(directory, PRINTS_LICENSE.format(text=json.dumps(license_()))) as daemon:
        daemon.wait()
        answer = panel.at(NOW)
        assert answer.license == {**license_(), "source": "agent", "failure": None, "kept": True}
    assert panel.at(NOW).gist == ("file", "active")


def test_a_real_daemon_that_has_no_answer_yet_is_silent(panel: Panel) -> None:
    directory = panel.folder / "run"
    panel.socket = directory / "agent.sock"
    with running(directory, "time.sleep(60)"):
        assert panel.at(NOW, timeout_s=0.2).gist == ("none", "expired")


@pytest.mark.slow
def test_a_whole_agent_with_a_license_of_an_authority(panel: Panel) -> None:
    with live_agent() as home:
        panel.socket = home.run / "agent.sock"
        with home.daemon():
            assert panel.at(None).gist == ("agent", "unlicensed")
            home.type("license", "install", home.file("bundle.jws", home.issued.text.encode()))
            answer = panel.at(None)
            assert answer.gist == ("agent", "active")
            assert answer.license["reasons"] == home.license()["reasons"]
            assert answer.permits == PERMITS[State.ACTIVE]
            assert answer.en == home.license()["next_action"]["en"]
        assert panel.at(home.now).gist == ("file", "active")
        good_until = answer.license["good_until"]
        later = panel.ask(good_until, good_until + 14 * DAY)
        assert [each.gist for each in later] == [("file", "grace"), ("file", "expired")]


# withdrawing a consent


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("usage_statistics", {"purpose": "usage_statistics"}),
        ("crash_reports", {"purpose": "crash_reports"}),
        ("do_not_track", {"do_not_track": True}),
    ],
)
def test_a_withdrawal_is_one_post_and_is_confirmed(panel: Panel, what: str, body: dict[str, Any]) -> None:
    with fake_daemon(panel.socket) as daemon:
        daemon.done("/v1/withdraw", {"withdrawn": what, "at": NOW})
        assert panel.withdraw(what)
    assert [(asked.method, asked.path, json.loads(asked.body)) for asked in daemon.asked] == [
        ("POST", "/v1/withdraw", body)
    ]


def test_a_withdrawal_that_the_agent_has_not_kept_is_not_confirmed(panel: Panel) -> None:
    goes_on = wire_server.answer("202 Accepted", JSON, body=b'{"schema":1,"ok":null}')
    refused = wire_server.answer("200 OK", JSON, body=b'{"schema":1,"ok":false,"error":{}}')
    nonsense = wire_server.answer("200 OK", JSON, body=b"[]")
    for reply in (goes_on, refused, nonsense):
        with in_turn(panel.socket, replies_with(reply)):
            assert not panel.withdraw("usage_statistics", timeout_s=0.5)
    assert not panel.withdraw("usage_statistics", timeout_s=0.1), "and no agent keeps none"


def replies_with(reply: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        wire_server.read_request(connection)
        connection.sendall(reply)

    return script


def test_a_withdrawal_waits_its_turn_while_too_many_ask(panel: Panel) -> None:
    with fake_daemon(panel.socket) as daemon:
        daemon.says_raw("/v1/withdraw", problem(503, "busy"))
        daemon.done("/v1/withdraw", {"withdrawn": "crash_reports", "at": NOW})
        assert panel.withdraw("crash_reports")
    assert len(daemon.asked) == 2


def test_the_real_agent_keeps_what_the_panel_withdraws_and_names_the_panel(panel: Panel) -> None:
    with live_agent() as home:
        panel.socket = home.run / "agent.sock"
        with home.daemon():
            assert home.type("consent", "allow", "usage_statistics").status == 0
            assert home.type("consent", "why", "usage_statistics").status == 0
            assert panel.withdraw("usage_statistics", timeout_s=60)
            why = home.type("consent", "why", "usage_statistics", "--lang", "en")
            assert (why.status, "withdrawn in the panel on" in why.out) == (1, True)
            kinds = [each["kind"] for each in home.type("consent", "history", "--json").json["result"]["entries"]]
            assert "ConsentWithdrawn" in kinds
            assert home.type("consent", "allow", "usage_statistics").status == 0
            assert home.type("consent", "why", "usage_statistics").status == 0
