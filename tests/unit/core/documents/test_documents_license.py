"""Proves what a license must say, and that nothing in it may exceed the delegation that it was issued under."""

import hashlib
from typing import Any

import pytest

from fixtures import signing
from fixtures.refusal import refused
from opanel_agent.core.codes import Reason
from opanel_agent.core.documents import delegation, license  # noqa: A004  the document's own name
from opanel_agent.core.documents.claims import StatusRef
from opanel_agent.core.documents.license import ActivationTerms, License, Reseller, outside
from opanel_agent.core.jose.jws import parse

KEYS = {signing.DELEGATE.kid: signing.DELEGATE.public}
DELEGATION = delegation.read(parse(signing.delegation(), max_bytes=65536), {signing.ISSUER.kid: signing.ISSUER.public})
TERMS = signing.license_claims()["activation"]
RESELLER = signing.license_claims()["reseller"]


def read(**changes: Any) -> License:
    return license.read(parse(signing.license(**changes), max_bytes=65536), KEYS)


def test_a_license_reads_as_it_was_written() -> None:
    assert read() == License(
        jti="license-1",
        sub=signing.KEY,
        iss=signing.RESELLER,
        iat=signing.ISSUED,
        nbf=signing.ISSUED,
        exp=signing.NOW + 335 * signing.DAY,
        product="opanel",
        features=frozenset({"backup", "mail"}),
        limits={"accounts": 100},
        tier="pro",
        grace_days=14,
        stale_days=30,
        activation=ActivationTerms(required=True, within_days=7, min_p=1, seats=1),
        reseller=Reseller(name="Örnek Hosting", email="destek@reseller.example", phone="+90 212 000 00 00", url=None),
        slot=7,
        status=StatusRef(idx=signing.LICENSE_IDX, uri=signing.STATUS_URI),
        digest=hashlib.sha256(signing.license()).hexdigest(),
    )


def test_x_is_where_a_reseller_may_put_his_own() -> None:
    assert read(x={"order": "A-17"}).jti == "license-1"


@pytest.mark.parametrize(
    ("changes", "detail", "where", "name"),
    [
        ({"aud": "somebody-else"}, "member_value", "license", "aud"),
        ({"aud": ["opanel-agent"]}, "member_value", "license", "aud"),
        ({"order": 1}, "member_unknown", "license", "order"),
        ({"sub": "not a key"}, "member_value", "license", "sub"),
        ({"sub": signing.KEY.lower()}, "member_value", "license", "sub"),
        ({"sub": signing.KEY.replace("-", "")}, "member_value", "license", "sub"),
        ({"nbf": signing.NOW, "exp": signing.NOW}, "member_value", "license", "exp"),
        ({"limits": {"accounts": -1}}, None, "", ""),
        ({"limits": {"accounts": True}}, "member_type", "license.limits", "accounts"),
        ({"jti": "a b c d e"}, "member_value", "license", "jti"),
        ({"features": ["a b"]}, "member_value", "license", "features"),
        ({"tier": ""}, "member_value", "license", "tier"),
        ({"activation": {**TERMS, "required": 1}}, "member_type", "license.activation", "required"),
        ({"activation": {**TERMS, "seats": 0}}, "member_value", "license.activation", "seats"),
        ({"activation": {**TERMS, "more": 0}}, "member_unknown", "license.activation", "more"),
        ({"reseller": {"name": "nobody to call"}}, "member_value", "license.reseller", "email"),
        ({"reseller": {**RESELLER, "fax": "1"}}, "member_unknown", "license.reseller", "fax"),
        ({"reseller": {"email": "a@b"}}, "member_missing", "license.reseller", "name"),
        *[({name: signing.DROP}, "member_missing", "license", name) for name in signing.license_claims()],
        *[({"activation": {n: v for n, v in TERMS.items() if n != name}}, "member_missing", "license.activation", name)
          for name in TERMS],
    ],
)  # fmt: skip
def test_what_a_license_must_say(changes: dict[str, Any], detail: str | None, where: str, name: str) -> None:
    with refused("json_integer") if detail is None else refused(detail, where=where, name=name):
        read(**changes)


def test_another_product_is_told_apart() -> None:
    with refused("license_product", Reason.PRODUCT_MISMATCH, where="license"):
        read(product="other")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, None),
        ({"features": []}, None),
        ({"features": ["backup", "everything"]}, "features"),
        ({"tier": "enterprise"}, "tier"),
        ({"limits": {"accounts": 500, "domains": 10}}, None),
        ({"limits": {"accounts": 501}}, "limits"),
        ({"limits": {}}, "limits"),
        ({"exp": signing.ISSUED + 400 * signing.DAY}, None),
        ({"exp": signing.ISSUED + 400 * signing.DAY + 1}, "exp"),
        ({"grace_days": 30}, None),
        ({"grace_days": 31}, "grace_days"),
        ({"stale_days": 61}, "stale_days"),
        ({"iat": signing.NOW + 365 * signing.DAY}, None),
        ({"iat": signing.NOW + 365 * signing.DAY + 1}, "iat"),
        ({"slot": 0}, None),
        ({"slot": 999}, None),
        ({"slot": 1000}, "slot"),
    ],
)
def test_nothing_exceeds_the_delegation(changes: dict[str, Any], name: str | None) -> None:
    assert outside(read(**changes), DELEGATION, entry=100) == name


@pytest.mark.parametrize(("entry", "name"), [(99, "status"), (100, None), (9_999, None), (10_000, "status")])
def test_its_entry_through_all_shards_is_in_the_range(entry: int, name: str | None) -> None:
    assert outside(read(), DELEGATION, entry=entry) == name


def test_a_delegation_of_another_product_covers_none_of_ours() -> None:
    other = delegation.read(
        parse(signing.delegation(may=signing.may(products=["other"])), max_bytes=65536),
        {signing.ISSUER.kid: signing.ISSUER.public},
    )
    assert outside(read(), other, entry=100) == "product"
