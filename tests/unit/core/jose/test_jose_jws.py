"""Proves the envelope: one header, one spelling, a key from the parent, the signature before the meaning."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import signing
from fixtures.data.vectors import vectors
from fixtures.refusal import refused
from opanel_agent.core.codec.base64url import base64url, unbase64url
from opanel_agent.core.codec.strict_json import dumps
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.jws import Envelope, Typ, assemble, parse, signing_input
from opanel_agent.core.jose.keys import PublicKey

KEYS = {signing.ISSUER.kid: signing.ISSUER.public}
CLAIMS: dict[str, Any] = {"ver": 1, "iss": "somebody"}
TOKEN = signing.ISSUER.sign(Typ.LICENSE, CLAIMS)
HEADER, PAYLOAD, SIGNATURE = TOKEN.decode().split(".")


def opened(token: bytes, keys: dict[str, PublicKey] = KEYS, typ: Typ = Typ.LICENSE) -> Any:
    claims = parse(token, max_bytes=4096).open(keys, typ)
    return {name: claims.value(name) for name in claims.names()}


def headed(header: Any, payload: bytes = dumps(CLAIMS)) -> bytes:
    """Signed as it should be, under any header: text, bytes or a value."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return signing.ISSUER.seal(f"{base64url(raw)}.{base64url(payload)}".encode())


GOOD: dict[str, Any] = {"alg": "EdDSA", "kid": signing.ISSUER.kid, "typ": "opanel-license+jwt"}


def test_a_good_one_opens() -> None:
    assert opened(TOKEN) == CLAIMS
    assert opened(headed(GOOD)) == CLAIMS
    assert (
        opened(headed(b' { "typ":"opanel-license+jwt",\n"alg" : "EdDSA", "kid":"%s" } ' % signing.ISSUER.kid.encode()))
        == CLAIMS
    )


def test_builders_give_what_the_parser_reads() -> None:
    envelope = parse(TOKEN, max_bytes=4096)
    signed = signing_input(Typ.LICENSE, signing.ISSUER.kid, dumps(CLAIMS))
    assert envelope == Envelope(
        token=TOKEN,
        typ="opanel-license+jwt",
        kid=signing.ISSUER.kid,
        signing_input=signed,
        payload=dumps(CLAIMS),
        signature=unbase64url(SIGNATURE),
    )
    assert assemble(signed, envelope.signature) == TOKEN
    assert len(envelope.digest) == 64


def test_size_first() -> None:
    with refused("jws_size", max_bytes=len(TOKEN) - 1):
        parse(TOKEN, max_bytes=len(TOKEN) - 1)
    with refused("jws_size"):
        parse(b"\xff" * 10, max_bytes=9)


@pytest.mark.parametrize(
    "header",
    [
        {**GOOD, "crit": ["exp"]},
        {**GOOD, "jwk": signing.ISSUER.jwk},
        {**GOOD, "b64": True},
        {**GOOD, "jku": "https://keys.example"},
        {**GOOD, "x5c": []},
        {**GOOD, "cty": "JWT"},
        {**GOOD, "x": {}},
        {**GOOD, "alg": "Ed25519"},  # RFC 9864
        {**GOOD, "alg": "none"},
        {**GOOD, "alg": "HS256"},
        {**GOOD, "alg": "eddsa"},
        {**GOOD, "alg": ["EdDSA"]},
        {**GOOD, "kid": signing.ISSUER.kid[:-1]},
        {**GOOD, "kid": signing.ISSUER.kid + "="},
        {**GOOD, "kid": 1},
        {**GOOD, "typ": None},
        {name: value for name, value in GOOD.items() if name != "alg"},
        {name: value for name, value in GOOD.items() if name != "kid"},
        {name: value for name, value in GOOD.items() if name != "typ"},
        [],
        "EdDSA",
    ],
)
def test_the_header_equals_three_strings(header: Any) -> None:
    for spelled in (json.dumps(header).encode(), dumps(header)):
        with refused("jws_header", Reason.FORMAT_INVALID):
            opened(headed(spelled))


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (b"", "json_syntax"),
        (b"\xef\xbb\xbf" + dumps(GOOD), "json_bom"),
        (dumps(GOOD)[:-1] + b',"alg":"EdDSA"}', "json_duplicate"),
        (dumps(GOOD) + b" " * 512, "json_size"),
        (dumps(GOOD)[:-1], "json_syntax"),
    ],
)
def test_the_header_is_strict_json(header: bytes, detail: str) -> None:
    with refused(detail):
        opened(headed(header))


def test_type_before_key_before_signature_before_claims() -> None:
    broken = TOKEN[:-4] + b"AAAA"
    stranger = {signing.AGENT.kid: signing.AGENT.public}
    with refused("jws_typ", where="delegation"):
        opened(broken, stranger, Typ.DELEGATION)
    with refused("key_unknown", Reason.CHAIN_INVALID, where="license"):
        opened(broken, stranger)
    with refused("signature", Reason.SIGNATURE_INVALID, where="license"):
        opened(signing.ISSUER.sign(Typ.LICENSE, b"no json")[:-4] + b"AAAA")
    with refused("json_syntax"):
        opened(signing.ISSUER.sign(Typ.LICENSE, b"no json"))


def test_a_key_named_by_somebody_elses_thumbprint_does_not_help() -> None:
    """`kid` says which of the parent's keys; the signature has to hold under that very key."""
    signed = signing_input(Typ.LICENSE, signing.ISSUER.kid, dumps(CLAIMS))
    with refused("signature"):
        opened(signing.AGENT.seal(signed))


@pytest.mark.parametrize("typ", [each for each in Typ if each is not Typ.LICENSE])
def test_every_other_type_is_refused(typ: Typ) -> None:
    with refused("jws_typ"):
        opened(signing.ISSUER.sign(typ, CLAIMS))


def test_the_version_is_one_except_in_status_lists() -> None:
    for claims, detail in (
        ({"iss": "a"}, "member_missing"),
        ({"ver": 2}, "member_value"),
        ({"ver": True}, "member_value"),
    ):
        with refused(detail, name="ver"):
            opened(signing.ISSUER.sign(Typ.LICENSE, claims))
    assert opened(signing.ISSUER.sign(Typ.STATUS_LIST, {"iss": "a"}), typ=Typ.STATUS_LIST) == {"iss": "a"}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(TOKEN) - 1), st.integers(0, 127))
def test_no_character_can_be_changed(place: int, code: int) -> None:
    changed = TOKEN[:place] + bytes([code]) + TOKEN[place + 1 :]
    if changed == TOKEN:
        return
    with pytest.raises(Untrusted):
        opened(changed)


# ------------------------------------------------------------------- Wycheproof's mutations, carried over to this token

SHAPE = {
    # the base64 group, by its tcId
    360: f"{HEADER}.{PAYLOAD}.    {SIGNATURE}",
    361: f"{HEADER}.{PAYLOAD}.?{SIGNATURE}",
    362: f"{HEADER}.{PAYLOAD}.{SIGNATURE}?",
    363: f"{HEADER}.{PAYLOAD}.?{SIGNATURE[1:]}",
    364: f"{HEADER}.{PAYLOAD}.????{SIGNATURE[4:]}",
    365: f"{HEADER}    .{PAYLOAD}.{SIGNATURE}",
    366: f"{HEADER}####.{PAYLOAD}.{SIGNATURE}",
    367: f"{HEADER}.{PAYLOAD}.{SIGNATURE}==",  # upstream lost this padding
    368: f"{HEADER}.    {PAYLOAD}.{SIGNATURE}",
    369: f"{HEADER}.####{PAYLOAD}.{SIGNATURE}",
    370: f"{HEADER}.{PAYLOAD}=.{SIGNATURE}",  # and this
    371: f"{HEADER}.?{PAYLOAD}.{SIGNATURE}",
    372: f"{HEADER[:-1]}?{HEADER[-1]}.{PAYLOAD}.{SIGNATURE}",  # upstream calls these two valid
    373: f"{HEADER}.{PAYLOAD}?.{SIGNATURE}",
}


@pytest.mark.parametrize("case", SHAPE)
def test_wycheproof_base64_mutations(case: int) -> None:
    with refused("jws_shape"):
        opened(SHAPE[case].encode())


@pytest.mark.parametrize("token", [f"{HEADER}.AB.{SIGNATURE}", f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}B"])
def test_unused_bits_carry_nothing(token: str) -> None:
    """TcId 374 and 375: a last letter whose low bits no byte needs. A signature's 64 bytes leave four such bits."""
    assert SIGNATURE[-1] in "AQgw"
    with refused("jws_shape"):
        opened(token.encode())


def test_spaces_in_the_header_are_json() -> None:
    """TcId 376 and 377: another spelling of the same header, which its signature covers."""
    assert (
        opened(headed(b'{ "kid" : "%s",\t"alg":"EdDSA", "typ":"opanel-license+jwt" }' % signing.ISSUER.kid.encode()))
        == CLAIMS
    )


STRUCTURE = {
    "modified signature": (f"{HEADER}.{PAYLOAD}.{'X' if SIGNATURE[0] != 'X' else 'Y'}{SIGNATURE[1:]}", "signature"),
    "missing signature": (f"{HEADER}.{PAYLOAD}.", "signature"),
    "missing signature and separator": (f"{HEADER}.{PAYLOAD}", "jws_shape"),
    "modified payload": (f"{HEADER}.X{PAYLOAD[1:]}.{SIGNATURE}", "signature"),
    "missing payload": (f"{HEADER}..{SIGNATURE}", "signature"),
    "missing payload and separator": (f"{HEADER}.{SIGNATURE}", "jws_shape"),
    "modified header": (f"X{HEADER[1:]}.{PAYLOAD}.{SIGNATURE}", "json_syntax"),
    "missing header": (f".{PAYLOAD}.{SIGNATURE}", "json_syntax"),
    "missing header and separator": (f"{PAYLOAD}.{SIGNATURE}", "jws_shape"),
    "missing header and signature": (f".{PAYLOAD}.", "json_syntax"),
    "payload alone": (PAYLOAD, "jws_shape"),
    "empty": ("", "jws_shape"),
    "extra empty component": (f"{TOKEN.decode()}.", "jws_shape"),
    "extra component": (f"{TOKEN.decode()}.foo", "jws_shape"),
    "json serialization": (
        json.dumps({"payload": PAYLOAD, "protected": HEADER, "signature": SIGNATURE}),
        "jws_shape",
    ),
    "signature cut": (f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-2]}", "signature"),
    "signature longer": (f"{HEADER}.{PAYLOAD}.{base64url(unbase64url(SIGNATURE) + bytes(1))}", "signature"),
    "newline after": (f"{TOKEN.decode()}\n", "jws_shape"),
}


@pytest.mark.parametrize("name", STRUCTURE)
def test_wycheproof_structural_mutations(name: str) -> None:
    token, detail = STRUCTURE[name]
    with refused(detail):
        opened(token.encode())


def test_symmetric_confusion_and_embedded_keys_end_at_the_header() -> None:
    """json_web_crypto tcId 16, 31, 32: `none`, a MAC keyed with the public key, a key that the document brings."""
    attacker = signing.signer("attacker")
    header = {**GOOD, "kid": attacker.kid, "jwk": attacker.jwk}
    with refused("jws_header"):
        opened(attacker.seal(f"{base64url(dumps(header))}.{PAYLOAD}".encode()))
    for alg in ("none", "HS256"):
        with refused("jws_header"):
            opened(f"{base64url(dumps({**GOOD, 'alg': alg}))}.{PAYLOAD}.".encode())


@pytest.mark.parametrize("name", ["json_web_signature_test.json", "json_web_crypto_test.json"])
def test_nothing_of_wycheproofs_own_is_taken(name: str) -> None:
    """No EdDSA is among them: all are refused, the ones that are valid elsewhere included."""
    count = 0
    for group in vectors(f"wycheproof/{name}")["testGroups"]:
        for case in group["tests"]:
            value = case.get("jws", case.get("jwe", ""))
            token = value if isinstance(value, str) else json.dumps(value)
            with pytest.raises(Untrusted):
                parse(token.encode(), max_bytes=64 * 1024)
            count += 1
    assert count == {"json_web_signature_test.json": 401, "json_web_crypto_test.json": 83}[name]
