"""Proves what an activation must say, so that its binding cannot be empty or match everything."""

from typing import Any

import pytest

from fixtures import signing
from fixtures.refusal import refused
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.documents import activation
from opanel_agent.core.documents.activation import Activation, Bind
from opanel_agent.core.documents.claims import StatusRef
from opanel_agent.core.jose.jws import parse

KEYS = {signing.ACTIVATION.kid: signing.ACTIVATION.public}


def read(**changes: Any) -> Activation:
    return activation.read(parse(signing.activation(**changes), max_bytes=65536), KEYS)


def test_an_activation_reads_as_it_was_written() -> None:
    assert read(x={}) == Activation(
        jti="activation-1",
        sub=signing.KEY,
        iss=signing.VENDOR,
        iat=signing.ISSUED + signing.DAY,
        nbf=signing.ISSUED + signing.DAY,
        exp=signing.NOW + 335 * signing.DAY,
        bind=Bind(salt=signing.SALT, k=3, p=2, components=signing.COMPONENTS),
        jkt=signing.AGENT.kid,
        seat=1,
        status=StatusRef(idx=signing.ACTIVATION_IDX, uri=signing.STATUS_URI),
    )


def bound(**changes: Any) -> dict[str, Any]:
    return {"bind": signing.overridden(signing.bind(), changes)}


DIGEST = base64url(bytes(16))


@pytest.mark.parametrize(
    ("changes", "detail", "where", "name"),
    [
        ({"jti": "a b c d e"}, "member_value", "activation", "jti"),
        ({"order": 1}, "member_unknown", "activation", "order"),
        ({"nbf": signing.NOW, "exp": signing.NOW}, "member_value", "activation", "exp"),
        ({"cnf": {"jkt": "short"}}, "member_value", "activation.cnf", "jkt"),
        ({"cnf": {"jkt": signing.AGENT.kid, "jwk": signing.AGENT.jwk}}, "member_unknown", "activation.cnf", "jwk"),
        (bound(k=0), "member_value", "activation.bind", "k"),
        (bound(k=6), "member_value", "activation.bind", "k"),
        (bound(components={}), "member_value", "activation.bind", "k"),
        (bound(p=4), "member_value", "activation.bind", "p"),
        (bound(salt=base64url(bytes(15))), "member_value", "activation.bind", "salt"),
        (bound(components=[]), "member_type", "activation.bind", "components"),
        (bound(components={"a b": DIGEST}), "member_value", "activation.bind", "components"),
        (bound(components={f"c{n}": DIGEST for n in range(17)}), "member_value", "activation.bind", "components"),
        (bound(components={"a": base64url(bytes(32))}), "member_value", "activation.bind.components", "a"),
        (bound(q=1), "member_unknown", "activation.bind", "q"),
        *[(bound(**{name: signing.DROP}), "member_missing", "activation.bind", name) for name in signing.bind()],
        *[({name: signing.DROP}, "member_missing", "activation", name) for name in signing.activation_claims()],
    ],
)
def test_what_an_activation_must_say(changes: dict[str, Any], detail: str, where: str, name: str) -> None:
    with refused(detail, where=where, name=name):
        read(**changes)
