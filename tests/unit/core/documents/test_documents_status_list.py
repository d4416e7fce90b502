"""Proves which status lists are accepted and what their entries say, on the draft's own vectors and on broken lists."""

import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import signing
from fixtures.data.vectors import vectors
from fixtures.refusal import refused
from opanel_agent.core.codec.base64url import base64url, unbase64url
from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.purposes import EVERY_GET, SHARDS, status_word
from opanel_agent.core.documents.status_list import (
    MAX_TOKEN_BYTES,
    Status,
    StatusList,
    accept,
    decode,
    shard_of,
    shard_uri,
)
from opanel_agent.core.jose.jws import Typ

ROOT = signing.trusted_root()
CAP = 1 << 20


def accepted(entries: dict[int, int] | None = None, **changes: Any) -> StatusList:
    return accept(signing.status_list(entries, **changes), ROOT, floor={}, now=signing.NOW)


def test_a_list_reads_as_it_was_written() -> None:
    found = accepted({100: 2, 101: 1, 102: 3})
    assert (found.sub, found.iat, found.exp, found.ttl) == (
        signing.STATUS_URI,
        signing.NOW - 3600,
        signing.NOW + 7 * signing.DAY,
        900,
    )
    assert found.kid == signing.STATUS.kid
    assert [found.status(idx) for idx in (99, 100, 101, 102, 103)] == [0, 2, 1, 3, 0]
    assert found.status(100) is not None
    assert Status(2) is Status.SUSPENDED


def test_beyond_the_list_is_unavailable_not_revoked() -> None:
    found = accepted({})
    assert len(found.statuses) == 16_384
    assert found.status(16_383) == 0
    assert found.status(16_384) is None
    assert found.status(-1) is None
    assert found.status(2**53 - 1) is None


SHARD_9 = "urn:example:status/9.jwt"


def test_a_shards_list_is_its_own() -> None:
    found = accepted({5: 2}, sub=SHARD_9)
    assert (found.sub, found.shard, found.status(5)) == (SHARD_9, 9, 2)
    assert accepted().shard == 0
    for asked, sub in ((9, signing.STATUS_URI), (0, SHARD_9), (8, SHARD_9), (None, "urn:example:status/64.jwt")):
        with refused("status_list_sub", Reason.CHAIN_INVALID):
            accept(signing.status_list(sub=sub), ROOT, floor={}, now=signing.NOW, shard=asked)


def test_each_shard_of_a_key_has_its_floor() -> None:
    token = signing.status_list(sub=SHARD_9, iat=signing.NOW - 10)
    found = accept(token, ROOT, floor={signing.STATUS.kid: signing.NOW}, now=signing.NOW)
    assert found.floor == f"{signing.STATUS.kid}/9"
    assert accepted().floor == signing.STATUS.kid
    with refused("status_list_older", Reason.CHAIN_INVALID):
        accept(token, ROOT, floor={found.floor: signing.NOW - 9}, now=signing.NOW)


def test_the_names_of_shards() -> None:
    uri = "https://v.example/v1/status.jwt"
    names = [shard_uri(uri, shard) for shard in range(SHARDS)]
    assert names[:2] == [uri, "https://v.example/v1/status/1.jwt"]
    assert [shard_of(name, uri) for name in names] == [*range(SHARDS)]
    assert [status_word(shard) for shard in (0, 9)] == ["status", "status-9"]
    assert all(name.endswith(EVERY_GET[status_word(shard)].path) for shard, name in enumerate(names))


def test_somebody_elses_publisher_is_admitted() -> None:
    foreign = {"bits": 2, "lst": signing.lst({5: 1}), "aggregation_uri": "https://lists.example/all"}
    found = accepted(ver=signing.DROP, ttl=signing.DROP, iss="publisher.example", jti="1", status_list=foreign, x={})
    assert found.status(5) == 1
    assert found.ttl is None
    assert accepted(iss=signing.DROP).status(0) == 0


@pytest.mark.parametrize(
    ("changes", "detail", "code"),
    [
        ({"sub": "urn:example:other"}, "status_list_sub", Reason.CHAIN_INVALID),
        ({"exp": signing.NOW}, "status_list_expired", Reason.STATUS_STALE),
        ({"exp": signing.DROP}, "member_missing", Reason.FORMAT_INVALID),
        ({"iat": signing.DROP}, "member_missing", Reason.FORMAT_INVALID),
        ({"sub": signing.DROP}, "member_missing", Reason.FORMAT_INVALID),
        ({"ver": 2}, "member_value", Reason.FORMAT_INVALID),
        ({"iss": 1}, "member_type", Reason.FORMAT_INVALID),
        ({"jti": 1}, "member_type", Reason.FORMAT_INVALID),
        ({"ttl": 0}, "member_value", Reason.FORMAT_INVALID),
        ({"aud": "a"}, "member_unknown", Reason.FORMAT_INVALID),
        ({"aggregation_uri": "a"}, "member_unknown", Reason.FORMAT_INVALID),
        ({"status_list": {"bits": 1, "lst": signing.lst({}, bits=1)}}, "status_list_bits", Reason.FORMAT_INVALID),
        ({"status_list": {"bits": 3, "lst": signing.lst({})}}, "status_list_bits", Reason.FORMAT_INVALID),
        ({"status_list": {"bits": 2}}, "member_missing", Reason.FORMAT_INVALID),
        ({"status_list": {"bits": 2, "lst": signing.lst({}), "y": 1}}, "member_unknown", Reason.FORMAT_INVALID),
        ({"status_list": {"bits": 2, "lst": "AAAA"}}, "status_list_zlib", Reason.FORMAT_INVALID),
        (
            {"status_list": {"bits": 2, "lst": signing.lst({}), "aggregation_uri": 1}},
            "member_type",
            Reason.FORMAT_INVALID,
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], detail: str, code: Reason) -> None:
    with refused(detail, code):
        accepted(**changes)


def test_only_a_status_key_signs_lists_and_lists_are_all_it_signs() -> None:
    with refused("key_unknown", Reason.CHAIN_INVALID):
        accepted(by=signing.ISSUER)
    with refused("jws_typ"):
        accept(signing.STATUS.sign(Typ.LICENSE, signing.status_list_claims()), ROOT, floor={}, now=signing.NOW)


def test_an_older_list_than_the_newest_of_that_key_is_refused() -> None:
    token = signing.status_list(iat=signing.NOW - 10)
    for floor in (signing.NOW - 10, signing.NOW - 11):
        assert accept(token, ROOT, floor={signing.STATUS.kid: floor}, now=signing.NOW).iat == signing.NOW - 10
    with refused("status_list_older", Reason.CHAIN_INVALID):
        accept(token, ROOT, floor={signing.STATUS.kid: signing.NOW - 9}, now=signing.NOW)


def test_another_key_has_a_floor_of_its_own() -> None:
    """A root that gives the role a new key thereby drops the floor."""
    later = signing.signer("status later")
    root = signing.trusted_root(keys=signing.role_keys(status=[later]))
    token = signing.status_list(by=later, iat=5)
    assert accept(token, root, floor={signing.STATUS.kid: signing.NOW}, now=signing.NOW).iat == 5


def test_an_expired_root_still_accepts_lists() -> None:
    root = signing.trusted_root(exp=signing.ISSUED)
    assert accept(signing.status_list({7: 2}), root, floor={}, now=signing.NOW).status(7) == 2


def test_the_token_is_capped() -> None:
    with refused("jws_size", max_bytes=MAX_TOKEN_BYTES):
        accept(b"a" * (MAX_TOKEN_BYTES + 1), ROOT, floor={}, now=signing.NOW)


# ------------------------------------------------------------------------------------------------------------- decoding


def test_the_drafts_example_of_section_4() -> None:
    """Section 4.1: 0xb9 0xa3, the first entry in the lowest bit of the first byte."""
    statuses = decode(1, base64url(zlib.compress(b"\xb9\xa3")), CAP)
    assert [statuses.at(idx) for idx in range(16)] == [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]
    two = decode(2, base64url(zlib.compress(b"\xc9\x44\xf9")), CAP)
    assert [two.at(idx) for idx in range(12)] == [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]


def test_the_drafts_vectors() -> None:
    checked = 0
    for vector in vectors("ietf-token-status-list/status_list_vectors.json"):
        statuses = decode(vector["status_list"]["bits"], vector["status_list"]["lst"], CAP * 2)
        assert len(statuses) == vector["entries"]
        expected = {int(idx): value for idx, value in vector["status"].items()}
        found = {idx: statuses.at(idx) for idx in expected}
        assert found == expected
        assert _nonzero(statuses.data, vector["bits"]) == {idx: value for idx, value in expected.items() if value}
        checked += 1
    assert checked == 4


def _nonzero(data: bytes, bits: int) -> dict[int, int]:
    """Every entry that is not 0, read independently: whole bytes first, then their bits."""
    found = {}
    for place, byte in enumerate(data):
        for part in range(8 // bits) if byte else ():
            value = (byte >> (part * bits)) % (1 << bits)
            if value:
                found[place * 8 // bits + part] = value
    return found


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 4, 8]), st.lists(st.integers(0, 255), max_size=40))
def test_what_is_encoded_is_decoded(bits: int, values: list[int]) -> None:
    entries = {idx: value % (1 << bits) for idx, value in enumerate(values)}
    statuses = decode(bits, signing.lst(entries, bits=bits, size=64), CAP)
    assert len(statuses) == 64
    assert {idx: statuses.at(idx) for idx in entries} == entries
    assert statuses.at(64) is None


GOOD = zlib.compress(bytes(1000))


@pytest.mark.parametrize("bits", [0, 3, 5, 16])
def test_other_widths_do_not_exist(bits: int) -> None:
    with refused("status_list_bits"):
        decode(bits, base64url(GOOD), CAP)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        GOOD[:-1],  # the checksum cut
        GOOD[: len(GOOD) // 2],
        GOOD[:-1] + bytes([GOOD[-1] ^ 1]),  # the checksum wrong
        GOOD + b"\0",
        GOOD + GOOD,  # two streams
        zlib.compress(bytes(1000), wbits=-15),  # raw deflate
        zlib.compress(bytes(1000), wbits=31),  # gzip
        b"\x78\x9c" + b"garbage",
    ],
)
def test_exactly_one_whole_zlib_stream(stream: bytes) -> None:
    with refused("status_list_zlib"):
        decode(2, base64url(stream), CAP)


def test_a_bomb_is_stopped_at_the_cap() -> None:
    assert len(decode(8, base64url(GOOD), 1000)) == 1000
    with refused("status_list_size", max_bytes=999):
        decode(8, base64url(GOOD), 999)
    with refused("status_list_size"):
        accepted(status_list={"bits": 2, "lst": base64url(zlib.compress(bytes(16 * CAP + 1), 9))})


def test_the_text_is_strict_base64url() -> None:
    with refused("base64url"):
        decode(2, base64url(GOOD) + "=", CAP)
    assert unbase64url(base64url(GOOD)) == GOOD
