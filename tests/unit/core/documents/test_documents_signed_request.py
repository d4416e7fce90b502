"""Proves that a request speaks for the one key that it names, and says nothing beside its claims."""

import json
from typing import Any

import pytest

from fixtures import signing
from fixtures.refusal import refused
from opanel_agent.core.codec.base64url import base64url
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.signed_request import RequestKind, Right, claims_json, verify
from opanel_agent.core.jose.jws import Typ


def request(**changes: Any) -> bytes:
    claims = json.loads(claims_json(signing.request_claims()))
    return signing.AGENT.sign(Typ.REQUEST, signing.overridden(claims, changes))


@pytest.mark.parametrize("kind", [kind for kind in RequestKind if kind is not RequestKind.RIGHTS])
def test_a_request_reads_as_it_was_written(kind: RequestKind) -> None:
    assert verify(signing.request(kind=kind)) == signing.request_claims(kind=kind)


@pytest.mark.parametrize("right", list(Right))
@pytest.mark.parametrize("text", [None, "Lütfen silin."])
def test_a_request_about_rights_reads_as_it_was_written(right: Right, text: str | None) -> None:
    asked = signing.request_claims(kind=RequestKind.RIGHTS, components={}, right=right, text=text)
    assert verify(signing.AGENT.sign(Typ.REQUEST, claims_json(asked))) == asked


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"kind": "rights"}, "member_missing"),
        ({"kind": "rights", "right": "forget"}, "member_value"),
        ({"kind": "rights", "right": 1}, "member_type"),
        ({"kind": "rights", "right": "erase", "text": "x" * 2001}, "member_value"),
        ({"kind": "release", "right": "erase"}, "member_unknown"),
        ({"kind": "release", "text": "words"}, "member_unknown"),
    ],
)
def test_which_right_is_said_in_a_request_about_rights_only(changes: dict[str, Any], detail: str) -> None:
    with refused(detail):
        verify(request(**changes))


def test_the_same_request_is_the_same_bytes() -> None:
    assert signing.request() == signing.request()


def test_components_may_be_none() -> None:
    assert verify(signing.request(components={})).components == {}


def test_the_key_that_signs_is_the_key_that_it_names() -> None:
    with refused("key_unknown", Reason.CHAIN_INVALID, where="request"):
        verify(signing.request(by=signing.DELEGATE))
    token = signing.request()
    with refused("signature", Reason.SIGNATURE_INVALID):
        verify(token[:-4] + b"AAAA")


def test_the_published_key_is_nobodys() -> None:
    with refused("key_published"):
        verify(request(jwk={"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}))


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"hostname": "server1"}, "member_unknown"),
        ({"iss": "somebody"}, "member_value"),
        ({"kind": "steal"}, "request_kind"),
        ({"jti": "a b c d e"}, "member_value"),
        ({"key_sha256": "A" * 64}, "member_value"),
        ({"license_sha256": "0" * 63}, "member_value"),
        ({"salt": base64url(bytes(15))}, "member_value"),
        ({"nonce": base64url(bytes(17))}, "member_value"),
        ({"components": {"machine_id": "c2VydmVyMQ"}}, "member_value"),
        ({"jwk": {**signing.AGENT.jwk, "use": "sig"}}, "member_unknown"),
        *[({name: signing.DROP}, "member_missing") for name in json.loads(claims_json(signing.request_claims()))],
    ],
)
def test_what_a_request_must_say(changes: dict[str, Any], detail: str) -> None:
    with refused(detail):
        verify(request(**changes))


def test_size_and_type() -> None:
    with refused("jws_size"):
        verify(request(x={"padding": "a" * 16_384}))
    with refused("jws_typ"):
        verify(signing.AGENT.sign(Typ.ACTIVATION, claims_json(signing.request_claims())))
