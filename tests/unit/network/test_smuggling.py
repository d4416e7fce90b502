"""The courier lets nothing out beside what the purpose declares: no header, no other form, no segment that says more."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fixtures import signing
from fixtures.simulated.fake_network import ok
from fixtures.simulated.simulated_agent import PATHS, Simulated
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.consent.purposes import FIXED_GETS
from opanel_agent.core.documents import signed_request
from opanel_agent.core.documents.signed_request import claims_json
from opanel_agent.core.wire.message import JOSE, Reply, Sealed, fixed_get

YES = b"""schema = 1
notice = "2026-12-03"
[purposes.usage_statistics]
allow = true
hold = "0h"
"""
DUE = signing.lines(signing.delegation(), signing.license(iat=signing.NOW - 3600))


def _receipt(sealed: Sealed) -> Reply:
    return ok(signing.receipt(sealed.body, kind=sealed.purpose), JOSE, status=202)


def _activation(sealed: Sealed) -> Reply:
    asked = signed_request.verify(sealed.body)
    bound = signing.bind(components=asked.components, salt=asked.salt)
    return ok(signing.activation(bind=bound, cnf={"jkt": asked.jwk.kid}), JOSE)


@pytest.fixture
def agent() -> Simulated:
    """One whose administrator allowed everything and who told nothing but what is declared."""
    simulated = Simulated()
    simulated.network.on("POST", signing.ENDPOINT + "/v1/reports/usage_statistics", _receipt)
    simulated.network.on("POST", signing.ENDPOINT + "/v1/activations", _activation)
    simulated.files.put(PATHS.consent, YES)
    simulated.change_consent()
    simulated.install(DUE)
    simulated.run("activate")
    for word, get in FIXED_GETS.items():
        simulated.network.serve(fixed_get(word, signing.MIRROR).url, b"", get.content_type)
    return simulated


def left(agent: Simulated, purpose: str) -> Sealed:
    """A request of ours that is permitted as it is: sent again it leaves again."""
    if purpose in ("license_status", "security_advisories"):
        word = {"license_status": "status", "security_advisories": "advisories"}[purpose]
        return fixed_get(word, signing.MIRROR)
    return next(sealed for sealed in agent.network.sent if sealed.purpose == purpose)


PURPOSES = ("license_status", "security_advisories", "usage_statistics", "license_activation")


@pytest.mark.parametrize("purpose", PURPOSES)
def test_as_it_is_it_leaves(agent: Simulated, purpose: str) -> None:
    sealed = left(agent, purpose)
    agent.network.sent.clear()
    agent.world.network.courier(sealed, signalled=False)
    assert agent.network.sent == [sealed]


def _added(sealed: Sealed) -> Sealed:
    return replace(sealed, headers=(*sealed.headers, ("Cookie", "host=web1")))


def _doubled(sealed: Sealed) -> Sealed:
    return replace(sealed, headers=(*sealed.headers, sealed.headers[0]))


def _elsewhere(sealed: Sealed) -> Sealed:
    """Another site behind the same address."""
    return replace(sealed, headers=(("Host", "collector.example"), *sealed.headers[1:]))


def _agent_name(sealed: Sealed) -> Sealed:
    return replace(sealed, headers=(sealed.headers[0], ("User-Agent", "web1"), *sealed.headers[2:]))


def _order(sealed: Sealed) -> Sealed:
    return replace(sealed, headers=(sealed.headers[1], sealed.headers[0], *sealed.headers[2:]))


def _spelling(sealed: Sealed) -> Sealed:
    return replace(sealed, headers=tuple((name.lower(), text) for name, text in sealed.headers))


def _with_body(sealed: Sealed, body: bytes) -> Sealed:
    headers = tuple((name, str(len(body)) if name == "Content-Length" else text) for name, text in sealed.headers)
    return replace(sealed, headers=headers, body=body)


def _blanks(sealed: Sealed) -> Sealed:
    """A GET has no body, and blanks would be one."""
    return _with_body(sealed, b"{ }" if sealed.method == "GET" else sealed.body + b" ")


def _as_jws(sealed: Sealed) -> Sealed:
    """The declared fields in the middle of a JWS, and something else around them."""
    edited = _with_body(sealed, f"{base64url(b'web1')}.{base64url(sealed.body)}.{base64url(b'root')}".encode())
    headers = tuple((name, JOSE if name == "Content-Type" else text) for name, text in edited.headers)
    return replace(edited, headers=headers)


@pytest.mark.parametrize(
    "change", [_added, _doubled, _elsewhere, _agent_name, _order, _spelling, _blanks, _as_jws], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_nothing_more_leaves(agent: Simulated, purpose: str, change: Callable[[Sealed], Sealed]) -> None:
    sealed = change(left(agent, purpose))
    agent.network.sent.clear()
    reply = agent.world.network.courier(sealed, signalled=False)
    assert agent.network.sent == []
    assert (reply.ok, reply.detail) == (False, "gate_denied")


@pytest.mark.parametrize("segment", [0, 2], ids=["header", "signature"])
def test_a_signed_request_is_one(agent: Simulated, segment: int) -> None:
    sealed = left(agent, "license_activation")
    segments = sealed.body.split(b".")
    segments[segment] = base64url(b"a server that is called web1").encode()
    agent.network.sent.clear()
    assert not agent.world.network.courier(_with_body(sealed, b".".join(segments)), signalled=False).ok
    assert agent.network.sent == []


def test_the_header_of_a_signed_request_has_one_spelling(agent: Simulated) -> None:
    """Well signed, but with blanks in its header, where something could be said."""
    payload = base64url(claims_json(signing.request_claims()))
    bodies = [
        signing.AGENT.seal(f"{base64url(header.encode())}.{payload}".encode())
        for header in (
            f'{{"alg":"EdDSA","kid":"{signing.AGENT.kid}","typ":"opanel-request+jwt"}}',
            f'{{"alg":"EdDSA","kid":"{signing.AGENT.kid}",  "typ":"opanel-request+jwt"}}',
        )
    ]
    sealed = left(agent, "license_activation")
    agent.network.sent.clear()
    for body in bodies:
        agent.world.network.courier(_with_body(sealed, body), signalled=False)
    assert [each.body for each in agent.network.sent] == bodies[:1]
