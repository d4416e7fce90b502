"""Several mirrors, one of which lies: its document is refused, and the next one is asked, in the order that is theirs."""

from collections.abc import Callable
from typing import Any

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import ROOTS_URL, SETTINGS, STATUS_URL, Simulated
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import EVERY_GET, MIRRORS_TRIED, WORDS
from opanel_agent.core.errors import Unavailable
from opanel_agent.core.jose.jws import Typ
from opanel_agent.core.wire.message import Reply, Sealed, fixed_get
from opanel_agent.evaluate.license.check import OTHERS_WITHIN_S
from opanel_agent.network import fetch

SECOND, THIRD = "https://second.example", "https://third.example"
LIST = "application/statuslist+jwt"
PATH = "/v1/status.jwt"
SLOW_DOWN = Unavailable(Reason.SERVER_ERROR, "status_unexpected", status=503)


@pytest.fixture
def agent() -> Simulated:
    """Three mirrors: the root's, and two of the settings. The first one has the roots, too."""
    made = Simulated()
    made.files.put(made.world.paths.settings, SETTINGS + f'mirrors = ["{SECOND}", "{THIRD}"]\n'.encode())
    made.install(signing.bundle())
    return made


def listed(**claims: Any) -> bytes:
    return signing.status_list({}, **{"iat": signing.NOW, "exp": signing.NOW + 7 * signing.DAY, **claims})


def status_asked(agent: Simulated) -> list[str]:
    return [sealed.url for sealed in agent.network.sent if sealed.url.endswith(PATH)]


def refresh(agent: Simulated) -> list[tuple[str, str | None]]:
    """Where the list was asked for, and what was wrong with it there."""
    asked = agent.run("refresh")["result"]["asked"]
    return [(each["url"], each["code"]) for each in asked if each["url"] != ROOTS_URL]


def older(agent: Simulated) -> bytes:
    """Good, and signed before what the agent has seen."""
    agent.publish({})
    agent.run("refresh")
    agent.network.sent.clear()
    return listed(iat=signing.NOW - signing.DAY)


BAD: dict[str, Callable[[Simulated], bytes]] = {
    "garbage": lambda _: b"a.b.c",
    "another's signature": lambda _: signing.signer("somebody").sign(Typ.STATUS_LIST, {"iat": signing.NOW}),
    "an older list": older,
    "an empty one": lambda _: b"",
}


@pytest.mark.parametrize("bad", BAD)
def test_a_refused_document_does_not_hide_the_next_mirrors(agent: Simulated, bad: str) -> None:
    agent.network.serve(STATUS_URL, BAD[bad](agent), LIST)
    agent.network.serve(SECOND + PATH, listed(), LIST)
    (first, code), second = refresh(agent)
    assert (first, second) == (STATUS_URL, (SECOND + PATH, None))
    assert code in {"format_invalid", "signature_invalid", "chain_invalid"}
    assert status_asked(agent) == [STATUS_URL, SECOND + PATH]
    assert agent.run("tick")["answer"]["last_check"] == {"at": signing.NOW, "failure": None}


def test_where_every_mirror_lies_the_first_refusal_is_told_and_each_was_asked(agent: Simulated) -> None:
    for place in (STATUS_URL, SECOND + PATH, THIRD + PATH):
        agent.network.serve(place, b"a.b.c", LIST)
    assert [url for url, _ in refresh(agent)] == [STATUS_URL, SECOND + PATH, THIRD + PATH]
    assert status_asked(agent) == [STATUS_URL, SECOND + PATH, THIRD + PATH]
    assert agent.run("tick")["answer"]["last_check"]["failure"] == "format_invalid"


def test_one_that_cannot_be_reached_is_passed_over_without_a_word(agent: Simulated) -> None:
    agent.network.on("GET", STATUS_URL, Unavailable(Reason.UNREACHABLE_TCP, "connect_failed"))
    agent.network.serve(SECOND + PATH, b"a.b.c", LIST)
    agent.network.serve(THIRD + PATH, listed(), LIST)
    assert refresh(agent)[-1] == (THIRD + PATH, None)


def test_no_more_mirrors_are_asked_than_there_are_words_for(agent: Simulated) -> None:
    many = [f"https://m{number}.example" for number in range(MIRRORS_TRIED + 3)]
    agent.files.put(agent.world.paths.settings, SETTINGS + f"mirrors = {many}\n".replace("'", '"').encode())
    for base in (signing.MIRROR, *many):
        agent.network.serve(base + PATH, b"a.b.c", LIST)
    assert len(refresh(agent)) == MIRRORS_TRIED


def test_a_pass_that_is_late_leaves_the_others_to_the_next(agent: Simulated) -> None:
    def slowly(_: Sealed) -> Reply:
        agent.clock.advance(OTHERS_WITHIN_S + 1)
        return ok(b"a.b.c", LIST)

    agent.network.on("GET", STATUS_URL, slowly)
    agent.network.serve(SECOND + PATH, listed(), LIST)
    assert [url for url, _ in refresh(agent)] == [STATUS_URL]


def ask(agent: Simulated, word: str) -> Reply:
    return Reply.decode(fetch.answer(word.encode() + b"\n", agent.outlet._fresh()).encode())


def test_every_word_is_one_of_the_fixed_gets(agent: Simulated) -> None:
    """However it is spelled, the bytes are the same: a word chooses a mirror, and says nothing."""
    assert len(WORDS) == len(EVERY_GET) * MIRRORS_TRIED
    for word, (fixed, skipped) in WORDS.items():
        agent.network.sent.clear()
        ask(agent, word)
        expected = [fixed_get(fixed, base) for base in (signing.MIRROR, SECOND, THIRD)[skipped:]]
        assert [sealed.encode() for sealed in agent.network.sent] == [each.encode() for each in expected][
            : len(agent.network.sent)
        ]
        assert bool(agent.network.sent) == (skipped < 3)
        assert len(word) <= fetch.MAX_WORD_BYTES - 1


@pytest.mark.parametrize(
    "word", ["status.1", "status.5", "status.02", "status.2 ", "status.-1", "status.2.2", "mirrors.2", ".2"]
)
def test_no_other_word_is_one(agent: Simulated, word: str) -> None:
    reply = ask(agent, word)
    assert (reply.ok, reply.detail, agent.network.sent) == (False, "fetch_word", [])


@pytest.mark.parametrize(
    ("waits", "retry_after_s"),
    [((7200, 3600, 86400), 3600), ((7200, None, 86400), None), ((None, 60, 60), None), ((5, 5, 5), 5)],
)
def test_one_mirror_cannot_silence_the_others(
    agent: Simulated, waits: tuple[int | None, ...], retry_after_s: int | None
) -> None:
    for base, wait_s in zip((signing.MIRROR, SECOND, THIRD), waits, strict=True):
        answer = SLOW_DOWN if wait_s is None else SLOW_DOWN.but(retry_after_s=wait_s)
        agent.network.on("GET", base + PATH, answer)
    reply = ask(agent, "status")
    assert (reply.retry_after_s, reply.code, reply.url) == (retry_after_s, "server_error", THIRD + PATH)
