"""Proves what an activation must say, so that its binding cannot be empty or match everything."""

from typing import Any

import pytest

from fakes import forge
from fakes.refusal import refused
from opanel_agent.core.base64url import base64url
from opanel_agent.core.documents import activation
from opanel_agent.core.documents.activation import Activation, Bind
from opanel_agent.core.documents.jws import parse
from opanel_agent.core.documents.parts import StatusRef

KEYS = {forge.ACTIVATION.kid: forge.ACTIVATION.public}


def read(**changes: Any) -> Activation:
    return activation.read(parse(forge.activation(**changes), max_bytes=65536), KEYS)


def test_an_activation_reads_as_it_was_written() -> None:
    assert read(x={}) == Activation(
        jti="activation-1",
        sub=forge.KEY,
        iss=forge.VENDOR,
        iat=forge.ISSUED + forge.DAY,
        nbf=forge.ISSUED + forge.DAY,
        exp=forge.NOW + 335 * forge.DAY,
        bind=Bind(salt=forge.SALT, k=3, p=2, components=forge.COMPONENTS),
        jkt=forge.AGENT.kid,
        seat=1,
        status=StatusRef(idx=forge.ACTIVATION_IDX, uri=forge.STATUS_URI),
    )


def bound(**changes: Any) -> dict[str, Any]:
    return {"bind": forge.overridden(forge.bind(), changes)}


DIGEST = base64url(bytes(16))


@pytest.mark.parametrize(
    ("changes", "detail", "where", "name"),
    [
        ({"jti": "a b c d e"}, "member_value", "activation", "jti"),
        ({"order": 1}, "member_unknown", "activation", "order"),
        ({"nbf": forge.NOW, "exp": forge.NOW}, "member_value", "activation", "exp"),
        ({"cnf": {"jkt": "short"}}, "member_value", "activation.cnf", "jkt"),
        ({"cnf": {"jkt": forge.AGENT.kid, "jwk": forge.AGENT.jwk}}, "member_unknown", "activation.cnf", "jwk"),
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
        *[(bound(**{name: forge.DROP}), "member_missing", "activation.bind", name) for name in forge.bind()],
        *[({name: forge.DROP}, "member_missing", "activation", name) for name in forge.activation_claims()],
    ],
)
def test_what_an_activation_must_say(changes: dict[str, Any], detail: str, where: str, name: str) -> None:
    with refused(detail, where=where, name=name):
        read(**changes)
