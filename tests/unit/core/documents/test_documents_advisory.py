"""Proves which sets of advisories are taken: every rule of a line and of the set has one that breaks it alone."""

from typing import Any

import pytest

from fixtures import signing
from fixtures.refusal import refused
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents.advisory import (
    MAX_ADVISORIES,
    MAX_BODY,
    MAX_BYTES,
    MAX_TITLE,
    Advisory,
    Severity,
    raised,
    read,
)
from opanel_agent.core.jose.jws import Typ

ROOT = signing.trusted_root()
OTHER = signing.signer("another advisory key")


def taken(*advisories: bytes) -> tuple[Advisory, ...]:
    return read(signing.lines(*advisories), ROOT, floors={})


def one(**changes: Any) -> Advisory:
    (advisory,) = taken(signing.advisory(**changes))
    return advisory


def test_an_advisory_reads_as_it_was_signed() -> None:
    assert one() == Advisory(
        jti="advisory-1",
        iss=signing.VENDOR,
        iat=signing.NOW - 3600,
        exp=signing.NOW + 90 * signing.DAY,
        seq=1,
        severity=Severity.HIGH,
        title={"tr": "Güncelleyin", "en": "Please update"},
        body={"tr": "Bir açık kapatıldı.", "en": "A hole was closed."},
        fixed_in="0.1.1",
        kid=signing.ADVISORY.kid,
    )
    assert one(fixed_in=None).fixed_in is None
    assert one(x={"later": 1}).seq == 1


@pytest.mark.parametrize("severity", ["info", "low", "medium", "high", "critical"])
def test_every_severity_is_known(severity: str) -> None:
    assert one(severity=severity).severity == severity


def test_a_set_is_in_the_order_of_seq_and_may_be_empty() -> None:
    found = taken(signing.advisory(), signing.advisory(jti="advisory-5", seq=5))
    assert [each.seq for each in found] == [1, 5]
    assert read(b"", ROOT, floors={}) == ()
    assert read(signing.advisory(), ROOT, floors={}) == read(signing.advisory() + b"\n", ROOT, floors={})


def test_one_that_has_ended_is_still_part_of_a_good_set() -> None:
    assert one(iat=1, exp=2).exp == 2


LONG = {"tr": "ö" * MAX_BODY, "en": "o" * MAX_BODY}


def test_texts_may_be_as_long_as_they_may_be() -> None:
    title = {"tr": "ü" * MAX_TITLE, "en": "u"}
    assert (one(title=title).title, one(body=LONG).body) == (title, LONG)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"ver": 2}, "member_value"),
        ({"iss": signing.DROP}, "member_missing"),
        ({"iss": "a b"}, "member_value"),
        ({"iss": "other.example"}, "advisory_iss"),
        ({"jti": "short"}, "member_value"),
        ({"iat": signing.DROP}, "member_missing"),
        ({"exp": signing.DROP}, "member_missing"),
        ({"exp": signing.NOW - 3600}, "member_value"),
        ({"seq": 0}, "member_value"),
        ({"severity": "grave"}, "member_value"),
        ({"severity": 1}, "member_type"),
        ({"fixed_in": signing.DROP}, "member_missing"),
        ({"fixed_in": "0.1.1-rc1"}, "member_value"),
        ({"fixed_in": "1"}, "member_value"),
        ({"title": {"tr": "a"}}, "member_missing"),
        ({"title": {"tr": "a", "en": "b", "de": "c"}}, "member_unknown"),
        ({"title": {"tr": "a", "en": ""}}, "member_value"),
        ({"title": {"tr": "a" * (MAX_TITLE + 1), "en": "b"}}, "member_value"),
        ({"body": {**LONG, "en": "o" * (MAX_BODY + 1)}}, "member_value"),
        ({"body": {"tr": "a\x1b[2J", "en": "b"}}, "member_value"),
        ({"body": {"tr": "a", "en": "two\nlines"}}, "member_value"),
        ({"body": {"tr": "a", "en": "turned \u202e round"}}, "member_value"),
        ({"affects": "0.1.0"}, "member_unknown"),
    ],
)
def test_a_line_that_breaks_a_rule_is_refused(changes: dict[str, Any], detail: str) -> None:
    with refused(detail):
        one(**changes)


def test_only_a_key_of_the_role_signs() -> None:
    with refused("key_unknown", Reason.CHAIN_INVALID):
        taken(signing.advisory(by=signing.STATUS))
    with refused("jws_typ", Reason.FORMAT_INVALID):
        taken(signing.ADVISORY.sign(Typ.RECEIPT, signing.advisory_claims()))
    header, payload, signature = signing.advisory().split(b".")
    changed = signing.advisory(severity="info").split(b".")[1]
    with refused("signature", Reason.SIGNATURE_INVALID):
        taken(b".".join([header, changed, signature]))
    assert payload != changed


def test_one_bad_line_refuses_all() -> None:
    with refused("key_unknown"):
        taken(signing.advisory(), signing.advisory(by=OTHER, jti="advisory-2", seq=2))
    with refused("jws_shape"):
        taken(signing.advisory(), b"", signing.advisory(jti="advisory-2", seq=2))


@pytest.mark.parametrize("seqs", [(2, 1), (1, 1)])
def test_seq_grows_from_line_to_line(seqs: tuple[int, int]) -> None:
    lines = [signing.advisory(jti=f"advisory-{n}", seq=seq) for n, seq in enumerate(seqs)]
    with refused("advisory_seq", Reason.FORMAT_INVALID):
        taken(*lines)


def test_a_name_is_given_once() -> None:
    with refused("advisory_jti", Reason.FORMAT_INVALID):
        taken(signing.advisory(), signing.advisory(seq=2))


def test_a_set_has_bounds() -> None:
    lines = [signing.advisory(jti=f"advisory-{n}", seq=n) for n in range(1, MAX_ADVISORIES + 2)]
    assert len(taken(*lines[:-1])) == MAX_ADVISORIES
    with refused("advisory_count", max_lines=MAX_ADVISORIES):
        taken(*lines)
    with refused("jws_size", max_bytes=MAX_BYTES):
        read(b"a" * (MAX_BYTES + 1), ROOT, floors={})
    with refused("jws_size"):
        taken(b"a" * (64 * 1024 + 1))


def test_an_older_set_is_refused_and_the_same_one_is_not() -> None:
    floors = {signing.ADVISORY.kid: 4}
    newest = signing.advisory(seq=4)
    assert read(newest, ROOT, floors=floors)[0].seq == 4
    for older in (signing.advisory(seq=3), b""):
        with refused("advisories_older", Reason.CHAIN_INVALID):
            read(older, ROOT, floors=floors)


def test_the_floor_of_a_key_goes_when_the_root_drops_the_key() -> None:
    floors = {OTHER.kid: 2**53 - 1, signing.ADVISORY.kid: 2}
    assert read(signing.advisory(seq=2), ROOT, floors=floors)
    both = signing.trusted_root(keys=signing.role_keys(advisory=[signing.ADVISORY, OTHER]))
    with refused("advisories_older"):
        read(signing.advisory(seq=2), both, floors=floors)
    none = signing.trusted_root(keys=signing.role_keys(advisory=[]))
    assert read(b"", none, floors=floors) == ()


def test_floors_only_rise() -> None:
    found = taken(signing.advisory(), signing.advisory(jti="advisory-5", seq=5))
    kid = signing.ADVISORY.kid
    assert raised({}, found, ROOT) == {kid: 5}
    assert raised({kid: 9, OTHER.kid: 3}, found, ROOT) == {kid: 9}
    assert raised({kid: 9}, (), ROOT) == {kid: 9}
