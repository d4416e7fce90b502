"""A license renews itself: a whole agent and a real authority through years, and what a crash or a refusal leaves."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures import signing
from fixtures.authority.market import DAY, HOUR, Market
from fixtures.authority.vendor import URL
from fixtures.simulated.fake_network import ok
from fixtures.simulated.memory_files import Stopped
from fixtures.simulated.simulated_agent import PATHS, SETTINGS, Simulated
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.documents import bundle as bundle_document
from opanel_agent.core.documents import signed_request as requests
from opanel_agent.core.documents.bundle import Bundle
from opanel_agent.core.errors import Bug, Storage, Unavailable
from opanel_agent.core.license import renewal
from opanel_agent.core.wire.message import Reply, Sealed
from opanel_authority.documents import issue
from opanel_authority.documents.issue import Issued
from opanel_authority.lifecycle import changes
from opanel_authority.lifecycle.changes import Change

RENEWALS = URL + "/v1/renewals"


@pytest.fixture
def market(tmp_path: Path) -> Market:
    return Market(tmp_path)


@pytest.fixture
def issued(market: Market) -> Issued:
    """A license of thirty days, activated on the server `a`."""
    made = market.vendor.issue(days=30)
    server = market.server("a")
    server.install(made.text.encode())
    assert server.run("activate")["ok"]
    return made


@pytest.fixture
def server(market: Market, issued: Issued) -> Simulated:
    return market.servers["a"]


def held(market: Market, name: str = "a") -> Bundle:
    text = market.servers[name].files.read(PATHS.bundle, max_bytes=10**6)
    assert text is not None
    return bundle_document.verify(text, market.vendor.authority.root, now=None)


def published_renewal(market: Market) -> dict[str, Any]:
    """As `status` has it; this pass asks nothing."""
    answer: dict[str, Any] = market.servers["a"].run("narrowed")["answer"]["renewal"]
    return answer


def requested(market: Market) -> list[Sealed]:
    return [sealed for sealed in market.servers["a"].network.sent if sealed.url == RENEWALS]


def until_due(market: Market) -> None:
    """To the moment of the next request, with no other run due then."""
    planned = published_renewal(market)["next"]
    if planned - market.vendor.now > 2 * HOUR:
        market.pass_time(planned - 2 * HOUR - market.vendor.now)
        market.servers["a"].run("tick")
    market.pass_time(planned - market.vendor.now)


def asks(market: Market) -> None:
    """The next request, made: where another run was due first, after the quiet that follows it."""
    before = len(requested(market))
    until_due(market)
    for _ in range(20):
        market.servers["a"].run("tick")
        if len(requested(market)) > before:
            return
        market.pass_time(HOUR + 60)
    pytest.fail("it was never asked for")


def kinds(server: Simulated) -> list[str]:
    entries = server.run("history")["result"]["entries"]
    return [entry["kind"] for entry in entries if entry["purpose"] == "license_renewal"]


def test_a_year_of_monthly_licenses(market: Market, issued: Issued) -> None:
    """Renewed by itself with a third of its term left, twelve times and more, and never anything but `active`."""
    first = held(market)
    for _ in range(6):
        before = held(market).license
        begins = renewal.begins_s(before.nbf, before.exp)
        market.pass_time(begins - market.vendor.now)
        market.live(2 * DAY)
        after = held(market).license
        assert after.iat > before.iat
        assert begins <= after.iat <= begins + DAY + HOUR
        assert (after.sub, after.slot, after.status) == (before.sub, before.slot, before.status)
        assert held(market).activation == first.activation
        assert market.license("a")["reasons"] == ["ok"]
    assert market.asked("/v1/renewals") == ["200"] * 6
    assert held(market).license.exp > first.license.exp + 100 * DAY


def test_what_is_asked_says_who_and_nothing_of_the_machine(market: Market, server: Simulated) -> None:
    until_due(market)
    server.run("tick")
    (sealed,) = requested(market)
    claims = requests.verify(sealed.body)
    assert (claims.kind, claims.components) == ("renewal", {})
    assert held(market).activation is not None
    assert claims.jwk.kid == held(market).activation.jkt  # type: ignore[union-attr]
    assert kinds(server) == ["RequestAttempted", "RequestAnswered"]
    assert server.files.read(PATHS.sent / f"{sealed.id}.request", max_bytes=10**6) == sealed.encode()
    assert server.files.names(PATHS.held) == ()
    assert server.run("narrowed")["answer"]["last_left"]["purpose"] == "license_renewal"


def test_a_plan_that_was_lost_asks_no_second_time_on_a_day(market: Market, server: Simulated) -> None:
    server.network.on("POST", RENEWALS, Unavailable(Reason.SERVER_ERROR, "http_status", status=500))
    asks(market)
    today = market.vendor.now // DAY
    for _ in range(50):
        server.files.remove(PATHS.state)
        planned = published_renewal(market)["next"]
        if planned // DAY == today:
            market.pass_time(planned - market.vendor.now)
            server.run("tick")
            assert len(requested(market)) == 1
            assert published_renewal(market)["next"] // DAY == today + 1
            return
    pytest.fail("no plan was made for the same day")


def test_what_waits_is_judged_again_before_it_leaves(market: Market, server: Simulated) -> None:
    """What lies in held/ is sent as it lies there, so the gate looks at those very bytes, before the courier's does."""
    server.network.on("POST", RENEWALS, Unavailable(Reason.SERVER_ERROR, "http_status", status=500))
    asks(market)
    (name,) = server.files.names(PATHS.held)
    data = server.files.read(PATHS.held / name, max_bytes=10**6)
    assert data is not None
    meant = Sealed.decode(data)
    server.files.put(
        PATHS.held / name, replace(meant, headers=(*meant.headers, ("X-Host", "a"))).encode(), owner=PATHS.owner
    )
    for _ in range(3):
        market.live(DAY)
    assert requested(market) == [meant]
    assert kinds(server).count("RequestAttempted") == 1


def test_status_says_when_it_asks_next_and_how_the_last_request_ended(market: Market, issued: Issued) -> None:
    begins = renewal.begins_s(held(market).license.nbf, held(market).license.exp)
    first = published_renewal(market)
    assert begins <= first["next"] < begins + DAY
    assert (first["at"], first["failure"]) == (None, None)
    until_due(market)
    changes.change(market.vendor.authority, Change.SUSPEND, issued.jti, now=market.vendor.now)
    market.servers["a"].run("tick")
    asked = market.vendor.now
    assert published_renewal(market) == {"next": published_renewal(market)["next"], "at": asked, "failure": "suspended"}
    assert published_renewal(market)["next"] // DAY == asked // DAY + 1
    changes.change(market.vendor.authority, Change.RESUME, issued.jti, now=market.vendor.now)
    until_due(market)
    market.servers["a"].run("tick")
    assert (published_renewal(market)["at"], published_renewal(market)["failure"]) == (market.vendor.now, None)
    assert published_renewal(market)["next"] > market.vendor.now + 20 * DAY


def test_it_wakes_for_the_request_and_for_nothing_else(market: Market, server: Simulated) -> None:
    """The pass that it wants is at the planned moment, or when the quiet after another run is over."""
    until_due(market)
    market.pass_time(-HOUR)
    frame = server.run("tick")
    assert frame["next_run_s"] <= HOUR
    for _ in range(12):
        market.pass_time(int(frame["next_run_s"]))
        frame = server.run("tick")
        if requested(market):
            break
    assert len(requested(market)) == 1


# ---- what is no reason to ask


def test_no_word_no_request(market: Market, server: Simulated) -> None:
    """Offline, do-not-track, a setting, settings that are refused: each by itself, and each is told as no next request."""
    until_due(market)
    words: tuple[Callable[[], None], ...] = (
        lambda: server.opt_outs.set_signals(offline=True),
        lambda: server.opt_outs.set_signals(do_not_track=True),
        lambda: server.files.put(PATHS.settings, SETTINGS + b"[license]\nrenew = false\n"),
        lambda: server.files.put(PATHS.settings, SETTINGS + b'region = "elsewhere"\n'),
        lambda: server.files.put(PATHS.settings, SETTINGS + b"shell = 1\n"),
    )
    for word in words:
        word()
        frame = server.run("tick")
        assert frame["answer"]["renewal"]["next"] is None
        assert requested(market) == []
        server.opt_outs.set_signals()
        server.files.put(PATHS.settings, SETTINGS)
    market.pass_time(2 * HOUR)
    server.run("tick")
    market.pass_time(2 * HOUR)
    server.run("tick")
    assert len(requested(market)) == 1


def test_a_license_that_must_be_activated_first_is_not_asked_about(market: Market) -> None:
    made = market.vendor.issue(days=10)
    server = market.server("a")
    server.install(made.text.encode())
    market.live(9 * DAY)
    assert market.asked("/v1/renewals") == []
    assert published_renewal(market) == {"next": None, "at": None, "failure": None}


def test_one_that_needs_none_is_renewed_for_who_has_its_key(market: Market) -> None:
    made = market.vendor.issue(days=10, activation=False)
    market.server("a").install(made.text.encode())
    market.live(9 * DAY)
    assert market.asked("/v1/renewals") == ["200"]
    assert held(market).license.exp > market.vendor.now + 5 * DAY


def test_another_machine_or_key_does_not_ask(market: Market, server: Simulated) -> None:
    until_due(market)
    parts = dict(server.machine.parts)
    replaced = ("root_fs_uuid", "boot_disk", "dmi_product_uuid", "cloud_instance_id")
    server.machine.parts = {**parts, **{name: f"another {parts[name]}" for name in replaced}}
    assert server.run("tick")["answer"]["renewal"]["next"] is None
    server.machine.parts = parts
    key = server.files.entry(PATHS.activation_key)
    assert key is not None
    server.files.put(PATHS.activation_key, bytes(range(32)), mode=0o600)
    market.pass_time(3 * HOUR)
    assert server.run("tick")["answer"]["renewal"]["next"] is None
    assert requested(market) == []
    server.files.put(PATHS.activation_key, key.data, mode=0o600)
    for _ in range(2):  # the check of the status list may come first
        market.pass_time(3 * HOUR)
        server.run("tick")
    assert len(requested(market)) == 1


@pytest.mark.parametrize("entry", ["license", "activation"])
def test_while_the_list_says_no_nobody_is_asked(market: Market, server: Simulated, issued: Issued, entry: str) -> None:
    activation = held(market).activation
    assert activation is not None
    change = (Change.SUSPEND, issued.jti) if entry == "license" else (Change.SUPERSEDE, activation.jti)
    changes.change(market.vendor.authority, *change, now=market.vendor.now)
    server.run("refresh")
    market.pass_time(25 * DAY)
    for _ in range(4):
        market.pass_time(3 * HOUR)
        assert server.run("tick")["answer"]["renewal"]["next"] is None
    assert requested(market) == []


# ---- once a day, and a failure worsens nothing


FAILURES: dict[str, Any] = {
    "unreachable": Unavailable(Reason.UNREACHABLE_TCP, "connect_failed"),
    "broken": Unavailable(Reason.SERVER_ERROR, "status_unexpected", status=500),
    "portal": Unavailable(Reason.CAPTIVE_PORTAL, "wrong_type"),
    "impatient": Unavailable(Fault.RATE_LIMITED, "problem_rate_limited", status=429, retry_after_s=DAY),
    "hung": Bug(Reason.INTERNAL, "outlet_timeout", program="courier"),
    "junk": ok(b"junk", "application/jose"),
    "empty": ok(b"", "application/jose"),
    "foreign": ok(signing.bundle(), "application/jose"),
    "endless": ok(b"a" * 10**6, "application/jose"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_request_that_fails_is_made_once_a_day_and_worsens_nothing(market: Market, issued: Issued, name: str) -> None:
    server, before = market.servers["a"], held(market).text
    server.network.on("POST", RENEWALS, FAILURES[name])
    until_due(market)
    days = set()
    for _ in range(30):
        frame = server.run("tick")
        assert frame["answer"]["license"]["state"] == "active"
        days.add(market.vendor.now // DAY)
        market.pass_time(3 * HOUR)
    asked = [sealed for sealed in server.network.sent if sealed.url == RENEWALS]
    assert 2 <= len(asked) <= len(days)
    assert published_renewal(market)["failure"] not in (None, "not_yet")
    assert held(market).text == before
    server.network.on("POST", RENEWALS, market.answer)
    market.pass_time(2 * DAY)
    server.run("tick")
    market.pass_time(2 * HOUR)
    server.run("tick")
    assert held(market).license.iat > market.vendor.now - DAY


def test_the_courier_may_hang(market: Market, server: Simulated) -> None:
    until_due(market)

    def hang(sealed: Sealed, *, signalled: bool) -> Reply:
        raise Bug(Reason.INTERNAL, "outlet_timeout", program="courier")

    server.world.network.courier = hang  # type: ignore[method-assign]
    frame = server.run("tick")
    assert (frame["ok"], frame["answer"]["renewal"]["failure"]) == (True, "internal")
    assert kinds(server) == ["RequestAttempted", "RequestFailed"]


def test_what_cannot_be_recorded_is_not_sent(market: Market, server: Simulated) -> None:
    until_due(market)

    def full(step: str, path: Path) -> None:
        if step == "write" and path == PATHS.ledger:
            raise Storage(Fault.DISK_FULL, "disk_full", file=str(path))

    server.files.fault = full
    assert server.run("tick")["answer"]["license"]["state"] == "active"
    assert requested(market) == []


def test_an_unanswered_request_is_the_same_one_the_next_day(market: Market, server: Simulated) -> None:
    """The authority has answered and the reply was lost: the same bytes, and the edition that was made then."""
    lost: list[Reply] = []

    def lose(sealed: Sealed) -> Reply:
        lost.append(market.answer(sealed))
        raise Unavailable(Reason.SERVER_ERROR, "reply_broken")

    server.network.on("POST", RENEWALS, lose, market.answer)
    asks(market)
    asks(market)
    first, again = requested(market)
    assert first == again
    assert held(market).text == lost[0].body
    assert server.files.names(PATHS.held) == ()


def test_a_request_about_a_license_that_is_no_more_is_dropped(
    market: Market, server: Simulated, issued: Issued
) -> None:
    server.network.on("POST", RENEWALS, Unavailable(Reason.UNREACHABLE_TCP, "connect_failed"))
    until_due(market)
    server.run("tick")
    assert len(server.files.names(PATHS.held)) == 1
    newer = issue.renew(market.vendor.authority, issued.jti, now=market.vendor.now)
    server.install(newer.text.encode())
    server.run("tick")
    assert server.files.names(PATHS.held) == ()
    assert published_renewal(market)["next"] > market.vendor.now + 20 * DAY


# ---- what comes back


def answered(market: Market, text: str) -> str | None:
    """The renewal that brings this; how it ended."""
    server = market.servers["a"]
    server.network.on("POST", RENEWALS, ok(text.encode(), "application/jose"))
    asks(market)
    failure: str | None = published_renewal(market)["failure"]
    return failure


def test_a_document_nobody_waits_for_is_only_taken_by_hand(market: Market, server: Simulated, issued: Issued) -> None:
    """A reply belongs to its connection; a file of an unknown sender's in held/ or sent/ is no request of ours."""
    server.files.put(PATHS.sent / "renewal-0123456789abcdef.reply", ok(b"x", "application/jose").encode(), mode=0o600)
    server.files.put(PATHS.held / "renewal-0123456789abcdef", b"x", mode=0o600)
    before = held(market).text
    assert server.run("tick")["ok"]
    assert held(market).text == before
    assert server.files.names(PATHS.held) == ()


def test_the_same_edition_again_is_not_yet(market: Market, issued: Issued) -> None:
    before = held(market).text
    assert answered(market, before.decode()) == "not_yet"
    assert held(market).text == before
    assert market.servers["a"].files.names(PATHS.held) == ()


def test_another_license_is_refused(market: Market, issued: Issued) -> None:
    before = held(market).text
    assert answered(market, market.vendor.issue().text) == "product_mismatch"
    assert held(market).text == before


def test_a_foreign_activation_does_not_replace_ours(market: Market, issued: Issued) -> None:
    before = held(market)
    market.vendor.now += DAY
    market.servers["a"].clock.advance(DAY)
    newer = issue.renew(market.vendor.authority, issued.jti, now=market.vendor.now)
    other = market.vendor.issue(seats=2)
    foreign = market.vendor.activate(other, "server x")
    with market.vendor.authority.store.transaction() as books:
        row = books.activation(foreign.jti)
    assert row is not None
    assert answered(market, newer.text + row.line + "\n") == "chain_invalid", "of another license: refused whole"
    assert held(market) == before
    market.pass_time(DAY)
    assert answered(market, newer.text) is None
    assert held(market).activation == before.activation


def test_ours_stays_where_the_reply_brings_another_servers(market: Market, issued: Issued) -> None:
    before = held(market)
    unheard = Unavailable(Reason.UNREACHABLE_TCP, "connect_failed")  # of the list that says ours was moved
    market.servers["a"].network.on("GET", URL + "/v1/status.jwt", unheard)
    elsewhere = market.vendor.activate(issued, "server x")
    with market.vendor.authority.store.transaction() as books:
        row = books.activation(elsewhere.jti)
    assert row is not None
    market.pass_time(DAY)
    newer = issue.renew(market.vendor.authority, issued.jti, now=market.vendor.now)
    assert answered(market, newer.text + row.line + "\n") is None
    assert held(market).activation == before.activation


def test_a_renewal_under_which_the_activation_would_not_hold_is_refused() -> None:
    """An activation ends when it ends; one that is outlived by the license would be lost, and the state with it."""
    agent = Simulated()
    url = signing.ENDPOINT + "/v1/renewals"

    def activate(sealed: Sealed) -> Reply:
        asked = requests.verify(sealed.body)
        bind = signing.bind(components=asked.components, salt=asked.salt)
        line = signing.activation(bind=bind, cnf={"jkt": asked.jwk.kid}, exp=signing.NOW + 10 * DAY)
        return ok(line, "application/jose")

    agent.network.on("POST", signing.ENDPOINT + "/v1/activations", activate)
    agent.install(signing.lines(signing.delegation(), signing.license(exp=signing.NOW + 5 * DAY)))
    agent.run("activate")
    agent.clock.advance(2 * DAY)
    now = agent.clock.wall_s
    newer = signing.license(jti="license-2", iat=now, nbf=now, exp=signing.NOW + 300 * DAY)
    agent.network.on("POST", url, ok(signing.lines(signing.delegation(), newer), "application/jose"))
    for _ in range(9):
        agent.clock.advance(3 * HOUR)
        frame = agent.run("tick")
    assert [sealed.url for sealed in agent.network.sent].count(url) >= 1
    assert frame["answer"]["renewal"]["failure"] == "activation_due"
    assert frame["answer"]["license"]["state"] == "active"


def test_an_edition_that_begins_later_waits_for_its_day() -> None:
    """A billing system may issue next month's license early; taken up at once, it would permit nothing until then."""
    agent = Simulated()
    free = {"required": False, "within_days": 0, "min_p": 0, "seats": 1}
    agent.install(signing.lines(signing.delegation(), signing.license(exp=signing.NOW + 5 * DAY, activation=free)))
    later = signing.license(
        jti="license-2", activation=free, iat=signing.NOW, nbf=signing.NOW + 5 * DAY, exp=signing.NOW + 35 * DAY
    )
    agent.network.on(
        "POST", signing.ENDPOINT + "/v1/renewals", ok(signing.lines(signing.delegation(), later), "application/jose")
    )
    agent.run("refresh")
    seen = set()
    for _ in range(60):
        agent.clock.advance(3 * HOUR)
        agent.publish({})
        license_ = agent.run("tick")["answer"]
        seen.add((license_["license"]["state"], license_["renewal"]["failure"]))
    assert seen == {("active", None), ("active", "not_yet"), ("grace", "not_yet")}
    assert license_["license"]["reasons"] == ["ok"]


# ---- killed at every step


@pytest.mark.slow
@pytest.mark.parametrize("stride", [17, 2])
def test_killed_at_a_step_it_asks_once_a_day_and_ends_renewed(market: Market, issued: Issued, stride: int) -> None:
    """Each durable step of the pass that renews: whatever is lost, what follows is one request a day and one renewal."""
    server = market.servers["a"]
    until_due(market)
    backup, begun = server.files.snapshot(), (market.vendor.now, server.clock.wall_s, server.clock.boottime_s)
    steps = _steps(market, server)
    assert steps > 30
    for keep in (False, True):
        for step in range(0, steps, stride):
            _restore(market, server, backup, begun)
            sent_before = len(server.network.sent)
            server.files.stop_at(step)
            with contextlib.suppress(Stopped):  # how many steps there are differs by a few
                server.run("tick")
            server.files.crash(keep=keep)
            days: list[int] = []
            for _ in range(18):
                sent = len(server.network.sent)
                frame = server.run("tick")
                assert frame["answer"]["license"]["state"] == "active"
                days += [market.vendor.now // DAY for each in server.network.sent[sent:] if each.url == RENEWALS]
                market.pass_time(4 * HOUR)
            asked = [each for each in server.network.sent[sent_before:] if each.url == RENEWALS]
            assert len(days) == len(set(days)), step
            assert len({each.body for each in asked}) <= 1, "the same request, until it is answered"
            assert held(market).license.iat >= begun[0], step
            assert server.files.names(PATHS.held) == (), step


def _steps(market: Market, server: Simulated) -> int:
    """How many steps the pass has; the market is left as it was but for the edition that it made."""
    before = len(server.files.steps)
    server.run("tick")
    assert held(market).license.iat >= market.vendor.now - HOUR
    return len(server.files.steps) - before


def _restore(market: Market, server: Simulated, backup: Any, begun: tuple[int, int, int]) -> None:
    server.files.restore(backup, PATHS.state_dir)
    market.served.limiter.spent.clear()  # it counts on a clock that goes forward
    market.vendor.now, server.clock.wall_s, server.clock.boottime_s = begun
