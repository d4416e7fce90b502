"""A license moves from one server to another, and back: two whole agents and a real authority, on virtual days."""

from pathlib import Path

import pytest

from fixtures.authority.market import DAY, HOUR, Market
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.strict_json import loads
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.license import license_key
from opanel_authority.documents.issue import Issued
from opanel_authority.requests import licensing


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(tmp_path)


def installed(market: Market, name: str, issued: Issued) -> Simulated:
    """A server with the license, activated."""
    server = market.server(name)
    assert server.install(issued.text.encode())["ok"]
    activated(market, name)
    return server


def activated(market: Market, name: str) -> None:
    frame = market.servers[name].run("activate")
    assert frame["ok"], frame["error"]
    assert market.license(name)["reasons"] == ["ok"]


def state(market: Market, name: str) -> tuple[str, str]:
    license_ = market.license(name)
    return license_["state"], license_["reasons"][0]


def superseded(market: Market, name: str) -> None:
    """Lives until the server has seen it: at its next check of the list, which is tomorrow at the latest."""
    for _ in range(24):
        market.live(2 * HOUR)
        if state(market, name) == ("grace", "superseded"):
            return
    pytest.fail("it never saw it")


@pytest.mark.slow
def test_moving_with_overlap(market: Market) -> None:
    """The old server goes on for 72 hours from when it sees that it was moved; the new one is good all along.

    It sees it at its next daily check: one on each UTC day, so within 48 hours.
    """
    issued = market.vendor.issue()
    installed(market, "a", issued)
    market.live(3 * DAY)
    installed(market, "b", issued)
    moved_at = market.vendor.now
    assert state(market, "a") == ("active", "ok"), "it does not know yet"
    sees_at = None
    for _ in range(48):
        market.live(HOUR)
        if sees_at is None and state(market, "a") != ("active", "ok"):
            sees_at = market.vendor.now
            until = market.license("a")["until"]
    assert sees_at is not None
    assert moved_at < sees_at <= moved_at + 48 * HOUR
    assert sees_at - HOUR <= until - 72 * HOUR <= sees_at
    assert state(market, "a") == ("grace", "superseded")
    assert market.license("a")["permits"]["create"] is True
    assert market.license("a")["next_action"]["code"] == "move_back_or_release"
    while market.vendor.now < until:
        assert state(market, "a") == ("grace", "superseded")
        assert state(market, "b") == ("active", "ok")
        market.live(min(6 * HOUR, until - market.vendor.now))
    assert state(market, "a") == ("wrong_machine", "superseded")
    assert market.license("a")["permits"] == {"run": True, "change": True, "create": False, "paid_features": False}
    market.live(3 * DAY)
    assert state(market, "b") == ("active", "ok")


def test_nothing_that_is_installed_again_gains_an_hour(market: Market) -> None:
    """The bundle as it was, the license without its activation, another edition: until the end stays the same."""
    issued = market.vendor.issue()
    server = installed(market, "a", issued)
    whole = server.files.read(PATHS.bundle, max_bytes=10**6)
    assert whole is not None
    installed(market, "b", issued)
    superseded(market, "a")
    until = market.license("a")["until"]
    for _ in range(3):
        market.pass_time(12 * HOUR)
        server.run("remove")
        assert server.install(whole)["answer"]["license"]["until"] == until
        server.install(issued.text.encode())
        assert market.license("a")["until"] == until
    market.pass_time(until - market.vendor.now)
    assert state(market, "a") == ("wrong_machine", "superseded")


def test_two_seats_are_two_servers(market: Market) -> None:
    issued = market.vendor.issue(seats=2)
    installed(market, "a", issued)
    installed(market, "b", issued)
    market.live(30 * HOUR)
    assert state(market, "a") == state(market, "b") == ("active", "ok")
    installed(market, "c", issued)
    superseded(market, "a")
    market.pass_time(3 * DAY)
    assert [state(market, name)[0] for name in "abc"] == ["wrong_machine", "active", "active"], "the oldest seat"


def test_back_to_the_first_server(market: Market) -> None:
    issued = market.vendor.issue()
    installed(market, "a", issued)
    installed(market, "b", issued)
    superseded(market, "a")
    market.pass_time(3 * DAY)
    assert state(market, "a")[0] == "wrong_machine"
    activated(market, "a")
    superseded(market, "b")
    assert state(market, "a")[0] == "active"
    market.pass_time(3 * DAY)
    assert (state(market, "a")[0], state(market, "b")[0]) == ("active", "wrong_machine")


def test_back_within_the_grace_ends_it_at_once(market: Market) -> None:
    issued = market.vendor.issue()
    installed(market, "a", issued)
    installed(market, "b", issued)
    superseded(market, "a")
    activated(market, "a")


def test_an_activation_whose_reply_was_lost_and_that_moved_meanwhile_is_made_anew(market: Market) -> None:
    """Its request is answered `superseded` for ever; the next command must not send that one again."""
    issued = market.vendor.issue()
    server = market.server("a")
    server.install(issued.text.encode())
    shown = server.run("activate", preview=True)["result"]
    body = shown["body"].encode()
    licensing.signed(market.vendor.authority, body, requests.verify(body), now=market.vendor.now)  # and nobody heard it
    installed(market, "b", issued)
    frame = server.run("activate")
    assert frame["error"]["code"] == "superseded"
    assert server.files.names(PATHS.held) == ()
    activated(market, "a")


# ---- release


def test_a_release_frees_the_seat_and_the_list_says_so(market: Market) -> None:
    """At once at the authority; here within the hour, and from then on 72 hours."""
    issued = market.vendor.issue()
    server = installed(market, "a", issued)
    market.live(DAY)
    entry = market.vendor.bundle(issued, _activation(server)).activation
    assert entry is not None
    assert market.vendor.status(entry.status.idx) == 0
    frame = server.run("release")
    assert frame["ok"], frame["error"]
    assert market.vendor.status(entry.status.idx) == 3
    assert state(market, "a") == ("active", "ok"), "an unsigned reply takes nothing away"
    assert frame["next_run_s"] <= HOUR
    market._due["a"] = market.vendor.now + frame["next_run_s"]
    market.live(HOUR)
    assert state(market, "a") == ("grace", "superseded")
    assert market.license("a")["until"] <= market.vendor.now + 72 * HOUR
    installed(market, "b", issued)
    market.pass_time(72 * HOUR)
    assert (state(market, "a")[0], state(market, "b")[0]) == ("wrong_machine", "active")
    assert market.asked("/v1/renewals") == []


def test_a_release_is_no_move(market: Market) -> None:
    """Released before each move, a license moves as often as one likes."""
    issued = market.vendor.issue()
    for name in "abcdef":
        installed(market, name, issued)
        assert market.servers[name].run("release")["ok"]
    assert len(market.servers) == 6


def test_under_do_not_track_a_release_is_carried(market: Market) -> None:
    issued = market.vendor.issue()
    server = installed(market, "a", issued)
    server.opt_outs.set_signals(do_not_track=True)
    posts = len(market.log)
    result = server.run("release")["result"]
    assert (result["sent"], result["why"][0]["reason"]) == (False, "opt_out")
    assert len(market.log) == posts
    body = unbase64url(result["request"])
    made = licensing.signed(market.vendor.authority, body, requests.verify(body), now=market.vendor.now)
    assert loads(made.body, max_bytes=1024)["released"]  # type: ignore[index, call-overload]
    superseded(market, "a")  # the fixed GETs go on
    assert [line for line in market.log[posts:] if line.startswith("POST")] == []


def test_a_release_that_was_carried_is_not_sent_for_the_next_activation(market: Market) -> None:
    """Its answer would be that of the first one: released, and the seat would stay taken."""
    issued = market.vendor.issue()
    server = installed(market, "a", issued)
    server.opt_outs.set_signals(do_not_track=True)
    first = unbase64url(server.run("release")["result"]["request"])
    licensing.signed(market.vendor.authority, first, requests.verify(first), now=market.vendor.now)
    server.opt_outs.set_signals()
    activated(market, "a")
    live = market.vendor.bundle(issued, _activation(server)).activation
    assert live is not None
    assert server.run("release")["ok"]
    assert market.vendor.status(live.status.idx) == 3


def test_an_activation_that_was_carried_is_not_asked_for_again(market: Market) -> None:
    issued = market.vendor.issue()
    server = market.server("a")
    server.opt_outs.set_signals(do_not_track=True)
    server.install(issued.text.encode())
    body = unbase64url(server.run("activate")["result"]["request"])
    made = licensing.signed(market.vendor.authority, body, requests.verify(body), now=market.vendor.now)
    assert server.install(made.body)["ok"]
    assert server.files.names(PATHS.held) == ()
    server.opt_outs.set_signals()
    installed(market, "b", issued)
    activated(market, "a")


def test_a_key_brings_the_license_to_the_new_server(market: Market) -> None:
    issued = market.vendor.issue()
    server = market.server("a")
    frame = server.run("exchange", key=issued.key)
    assert frame["ok"], frame["error"]
    assert license_key.digest(issued.key) in market.servers["a"].network.sent[-1].body.decode()
    activated(market, "a")


def _activation(server: Simulated) -> str:
    text = server.files.read(PATHS.bundle, max_bytes=10**6)
    assert text is not None
    return text.decode().split()[-1] + "\n"
