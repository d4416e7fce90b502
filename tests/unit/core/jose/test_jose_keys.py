"""Proves which keys may be named by a document, and that Ed25519 itself verifies as the published vectors say."""

from typing import Any

import pytest

from fixtures import signing
from fixtures.data.vectors import vectors
from fixtures.refusal import refused
from opanel_agent.core.codec.base64url import base64url, unbase64url
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.codes import Reason
from opanel_agent.core.errors import Untrusted
from opanel_agent.core.jose.keys import PublicKey, by_kid

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def encode(y: int, sign: int) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """RFC 8032 section 5.1.4, in affine coordinates."""
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P
    return x, y


def torsion() -> set[tuple[int, int]]:
    """The eight points that eight additions bring to zero, from a generator found by multiplying points by the order."""
    order = 2**252 + 27742317777372353535851937790883648493
    y = 3
    while True:
        x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        x = pow(x2, (P + 3) // 8, P)
        if x * x % P != x2:
            x = x * pow(2, (P - 1) // 4, P) % P
        if x * x % P == x2:
            point, total, scalar = (x, y), (0, 1), order
            while scalar:
                if scalar & 1:
                    total = add(total, point)
                point, scalar = add(point, point), scalar >> 1
            found, each = set(), (0, 1)
            for _ in range(8):
                found.add(each)
                each = add(each, total)
            if len(found) == 8:
                return found
        y += 1


def test_all_eight_points_of_low_order_are_refused() -> None:
    points = torsion()
    assert len(points) == 8
    for x, y in points:
        with refused("key_low_order"):
            PublicKey.from_raw(encode(y, x & 1))


def test_second_encodings_are_refused() -> None:
    # y = p + n for the n that still fit 255 bits, and x = 0 with its sign bit set.
    for y in range(P, 2**255):
        for sign in (0, 1):
            with refused("key_not_canonical"):
                PublicKey.from_raw(encode(y, sign))
    for y in (1, P - 1):
        with refused("key_low_order"):
            PublicKey.from_raw(encode(y, 1))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    with refused("key_size"):
        PublicKey.from_raw(b"\x09" * size)


def jwk(**changes: Any) -> Members:
    return Members(signing.overridden(signing.AGENT.jwk, changes), "jwk", outermost=False)


def test_a_jwk_reads_back() -> None:
    key = PublicKey.from_jwk(jwk())
    assert key == signing.AGENT.public
    assert key.jwk() == signing.AGENT.jwk
    assert by_kid((key,)) == {key.kid: key}


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"kty": "EC"}, "member_value"),
        ({"kty": signing.DROP}, "member_missing"),
        ({"crv": "X25519"}, "member_value"),
        ({"x": base64url(bytes(31))}, "member_value"),
        ({"x": signing.AGENT.jwk["x"] + "="}, "base64url"),
        ({"x": base64url(bytes(32))}, "key_low_order"),
        ({"d": base64url(bytes(32))}, "member_unknown"),
        ({"kid": "a"}, "member_unknown"),
        ({"alg": "EdDSA"}, "member_unknown"),
    ],
)
def test_a_jwk_has_exactly_three_members(changes: dict[str, Any], detail: str) -> None:
    with refused(detail):
        PublicKey.from_jwk(jwk(**changes))


def test_rfc_8037_thumbprint_and_its_key_is_nobodys() -> None:
    vector = vectors("rfc8037/rfc8037_appendix_a.json")
    key = PublicKey.from_raw(unbase64url(vector["A.2_public_jwk"]["x"]))
    assert key.kid == vector["A.3_thumbprint"]["base64url"]
    assert key.is_published_test_key
    assert not signing.AGENT.public.is_published_test_key
    with refused("key_published", Reason.CHAIN_INVALID, where="jwk"):
        PublicKey.from_jwk(Members(vector["A.2_public_jwk"], "jwk", outermost=False))


def test_rfc_8037_signature() -> None:
    vector = vectors("rfc8037/rfc8037_appendix_a.json")
    signed = vector["A.4_A.5_jws"]
    key = PublicKey.from_raw(unbase64url(vector["A.2_public_jwk"]["x"]))
    signature = unbase64url(signed["signature"])
    assert (
        signed["signing_input"]
        == f"{base64url(signed['protected_header'].encode())}.{base64url(b'Example of Ed25519 signing')}"
    )
    assert key.verify(signature, signed["signing_input"].encode())
    assert not key.verify(signature, signed["signing_input"].encode() + b".")


def test_wycheproof_ed25519() -> None:
    count = 0
    for group in vectors("wycheproof/ed25519_test.json")["testGroups"]:
        raw = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            try:
                holds = PublicKey.from_raw(raw).verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            except Untrusted:
                holds = False
            assert holds == (case["result"] == "valid"), case["tcId"]
            count += 1
    assert count == 151
