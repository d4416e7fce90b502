"""The word `mirrors`: the status list's GET at every mirror, the same bytes as always, and what became of each."""

import time
from dataclasses import replace

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import SETTINGS, STATUS_URL, Simulated
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import WORDS
from opanel_agent.core.errors import Unavailable
from opanel_agent.core.wire.message import Reply, Sealed, fixed_get
from opanel_agent.core.wire.mirror_probe import MirrorProbe, decode
from opanel_agent.core.wire.steps import RequestTrace, Step
from opanel_agent.evaluate.requests.reply_errors import error_of
from opanel_agent.network import fetch
from opanel_agent.system.http import TransferLimits

SECOND, THIRD = "https://second.example", "https://third.example"
SETTINGS_OF_THREE = SETTINGS + f'mirrors = ["{SECOND}", "{THIRD}"]\n'.encode()
DATE = "Tue, 24 Nov 2026 09:00:00 GMT"
LIST = "application/statuslist+jwt"


@pytest.fixture
def agent() -> Simulated:
    made = Simulated()
    made.files.put(made.world.paths.settings, SETTINGS_OF_THREE)
    return made


def ask(agent: Simulated, word: bytes = b"mirrors\n") -> Reply:
    return Reply.decode(fetch.answer(word, agent.outlet._fresh()).encode())


def test_every_mirror_is_asked_once_with_the_fixed_bytes_and_told(agent: Simulated) -> None:
    agent.network.on("GET", STATUS_URL, ok(b"a.b.c", LIST, headers=(("dAte", DATE),)))
    agent.network.on(
        "GET", SECOND + "/v1/status.jwt", Unavailable(Reason.TLS_UNTRUSTED, "tls_certificate", why="expired")
    )
    agent.network.on("GET", THIRD + "/v1/status.jwt", Unavailable(Reason.CAPTIVE_PORTAL, "redirected", status=302))
    reply = ask(agent)
    assert reply.ok
    way = [Step.DNS, Step.TCP, Step.TLS, Step.CERTIFICATE, Step.HTTP, Step.TYPE, Step.CONTENT]
    assert decode(reply.body) == (
        MirrorProbe(url=STATUS_URL, served_s=1_795_510_800, passed=frozenset(way)),
        MirrorProbe(
            url=SECOND + "/v1/status.jwt",
            code="tls_untrusted",
            detail="tls_certificate",
            values={"why": "expired"},
            passed=frozenset(way[:3]),
            failed=Step.CERTIFICATE,
        ),
        MirrorProbe(
            url=THIRD + "/v1/status.jwt",
            code="captive_portal",
            detail="redirected",
            passed=frozenset(way[:5]),
            failed=Step.TYPE,
        ),
    )
    assert agent.network.sent == [fixed_get("status", base) for base in (signing.MIRROR, SECOND, THIRD)]


def test_a_body_of_the_right_type_that_is_no_document_fails_at_its_content(agent: Simulated) -> None:
    agent.network.on("GET", STATUS_URL, ok(b"<p>sign in", LIST))
    probe = decode(ask(agent).body)[0]
    assert (probe.code, probe.detail, probe.failed) == ("server_error", "content_foreign", Step.CONTENT)
    assert Step.TYPE in probe.passed
    assert Step.CONTENT not in probe.passed


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 1950 00:00:00 GMT"])
def test_a_date_that_is_none_is_not_told_as_one(agent: Simulated, date: str) -> None:
    agent.network.on("GET", STATUS_URL, ok(b"a.b.c", LIST, headers=(("Date", date),)))
    assert decode(ask(agent).body)[0].served_s in (None, 0)


@pytest.mark.parametrize("word", ["mirrors", *WORDS])
def test_the_gate_is_asked_and_under_offline_nothing_leaves(agent: Simulated, word: str) -> None:
    four = SETTINGS + f'mirrors = ["{SECOND}", "{THIRD}", "https://fourth.example"]\n'.encode()
    agent.files.put(agent.world.paths.settings, four)
    agent.opt_outs.set_signals(offline=True)
    reply = ask(agent, f"{word}\n".encode())
    assert (reply.ok, reply.code, agent.network.sent) == (False, "offline", [])
    agent.opt_outs.set_signals()
    agent.files.put(agent.world.paths.settings, SETTINGS_OF_THREE + b"[license]\ncheck = false\n")
    reply = ask(agent)
    assert (reply.ok, reply.code, agent.network.sent) == (False, "denied_by_file", [])


def test_a_no_in_between_ends_it(agent: Simulated) -> None:
    def and_then_offline(sealed: Sealed) -> Reply:
        agent.opt_outs.set_signals(offline=True)
        return ok(b"a.b.c", LIST)

    agent.network.on("GET", STATUS_URL, and_then_offline)
    reply = ask(agent)
    assert (reply.code, [each.url for each in agent.network.sent]) == ("offline", [STATUS_URL])


@pytest.mark.parametrize("word", [b"mirrors 2", b"mirror", b"mirrors\n\n", b"MIRRORS", b"mirrors status"])
def test_no_other_word_and_nothing_behind_it(agent: Simulated, word: bytes) -> None:
    assert (ask(agent, word).detail, agent.network.sent) == ("fetch_word", [])


class Slow:
    """A transport that takes all the time it is given, and keeps what that was."""

    def __init__(self) -> None:
        self.given: list[TransferLimits] = []

    def send(self, sealed: Sealed, limits: TransferLimits, trace: RequestTrace | None = None) -> Reply:
        self.given.append(limits)
        raise Unavailable(Reason.SERVER_ERROR, "reply_slow")


def test_the_time_is_shared_out_and_connecting_fails_before_the_whole_does(agent: Simulated) -> None:
    slow = Slow()
    begun = time.monotonic()
    fetch.answer(b"mirrors", replace(agent.outlet._fresh(), transport=slow))
    spent_s = time.monotonic() - begun
    first, second, third = slow.given
    assert first.whole_s <= fetch.WHOLE_S / 3 < second.whole_s <= fetch.WHOLE_S / 2 < third.whole_s <= fetch.WHOLE_S
    assert third.whole_s >= fetch.WHOLE_S - spent_s
    assert all(each.resolve_s + each.connect_s < each.whole_s for each in slow.given)


def test_every_mirror_gets_its_part_of_the_time_in_an_ordinary_pass(agent: Simulated) -> None:
    """The first one that hangs leaves two thirds to the others, which today's list can come from."""
    slow = Slow()
    reply = Reply.decode(fetch.answer(b"status", replace(agent.outlet._fresh(), transport=slow)).encode())
    assert [round(fetch.WHOLE_S / each.whole_s) for each in slow.given] == [3, 2, 1]
    assert (reply.ok, reply.url) == (False, THIRD + "/v1/status.jwt")


def test_what_hung_is_named_beyond_the_socket(agent: Simulated) -> None:
    agent.files.put(agent.world.paths.settings, SETTINGS)
    hung = Unavailable(Reason.UNREACHABLE_TCP, "connect_slow", address="2001:db8::1")
    agent.network.on("GET", STATUS_URL, hung)
    reply = ask(agent, b"status\n")
    assert (reply.code, reply.values) == ("unreachable_tcp", {"address": "2001:db8::1"})
    error = error_of(reply)
    assert error is not None
    assert error.values == {"url": STATUS_URL, "address": "2001:db8::1"}


def test_a_mirror_for_which_no_time_is_left_is_not_asked(agent: Simulated) -> None:
    """A name service that does not answer takes longer than any limit of ours."""
    passed = iter([0.0, 0.0, fetch.WHOLE_S + 30.0])
    reply = fetch.answer(b"mirrors", replace(agent.outlet._fresh(), passing_s=lambda: next(passed)))
    assert [each.url for each in decode(reply.body)] == [STATUS_URL]
    assert [each.url for each in agent.network.sent] == [STATUS_URL]


def test_without_a_mirror_there_is_nothing_to_tell(agent: Simulated) -> None:
    agent.files.put(agent.world.paths.settings, SETTINGS + b'region = "mars"\n')
    assert decode(ask(agent).body) == ()
