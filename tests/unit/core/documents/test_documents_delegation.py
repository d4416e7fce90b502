"""Proves that a delegation says all it must, and that each link is only narrower."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import signing
from fixtures.refusal import refused
from opanel_agent.core.documents import delegation
from opanel_agent.core.documents.claims import Contact, Range, StatusRef
from opanel_agent.core.documents.delegation import Delegation, Permissions, within
from opanel_agent.core.jose.jws import parse

KEYS = {signing.ISSUER.kid: signing.ISSUER.public}
ENTRY = {"idx": 1, "uri": signing.STATUS_URI}


def read(**changes: Any) -> Delegation:
    return delegation.read(parse(signing.delegation(**changes), max_bytes=65536), KEYS)


def test_a_delegation_reads_as_it_was_written() -> None:
    assert read(x={"note": 1}) == Delegation(
        jti="delegation-1",
        iss=signing.VENDOR,
        sub=signing.RESELLER,
        name="Örnek Hosting",
        contact=Contact(email="destek@reseller.example", phone="+90 212 000 00 00", url=None),
        controller=None,
        key=signing.DELEGATE.public,
        may=PARENT,
        iat=signing.ISSUED - 10 * signing.DAY,
        nbf=signing.ISSUED - 10 * signing.DAY,
        exp=signing.NOW + 730 * signing.DAY,
        status=StatusRef(idx=1, uri=signing.STATUS_URI),
    )


@pytest.mark.parametrize("way", [{"email": "a@b"}, {"phone": "+90 212"}, {"url": "https://b.example"}])
def test_one_way_to_reach_somebody_is_enough(way: dict[str, str]) -> None:
    assert read(contact=way).contact == Contact(**{"email": None, "phone": None, "url": None, **way})


PARENT = Permissions(
    products=frozenset({"opanel"}),
    features=frozenset({"backup", "mail", "dns"}),
    tiers=frozenset({"basic", "pro"}),
    limits={"accounts": 500},
    max_term_days=400,
    grace_days=30,
    stale_days=60,
    issue_until=signing.NOW + 365 * signing.DAY,
    slots=Range(start=0, end=1000),
    depth=2,
    status_range=Range(start=100, end=10_000),
)


BAD_SLOTS: tuple[Any, ...] = ([1, 1], [2, 1], [1], [1, 2, 3], [False, 2], [0, True], ["0", "9"], {}, None)


@pytest.mark.parametrize(
    ("changes", "detail", "where", "name"),
    [
        ({"ver": 2}, "member_value", "delegation", "ver"),
        ({"aud": "a"}, "member_unknown", "delegation", "aud"),
        ({"x": 1}, "member_type", "delegation", "x"),
        ({"jti": "short"}, "member_value", "delegation", "jti"),
        ({"sub": "with space"}, "member_value", "delegation", "sub"),
        ({"name": "\x1b[31m"}, "member_value", "delegation", "name"),
        ({"iat": 1.5}, None, "", ""),
        ({"nbf": signing.NOW, "exp": signing.NOW}, "member_value", "delegation", "exp"),
        ({"contact": {}}, "member_value", "delegation.contact", "email"),
        ({"contact": {"email": "nobody"}}, "member_value", "delegation.contact", "email"),
        ({"contact": {"phone": "call me"}}, "member_value", "delegation.contact", "phone"),
        ({"contact": {"url": "javascript:alert(1)"}}, "member_value", "delegation.contact", "url"),
        ({"contact": {"email": "a@b", "fax": "1"}}, "member_unknown", "delegation.contact", "fax"),
        ({"cnf": {"jkt": "a"}}, "member_missing", "delegation.cnf", "jwk"),
        ({"cnf": {"jwk": signing.DELEGATE.jwk, "kid": "a"}}, "member_unknown", "delegation.cnf", "kid"),
        ({"status": {"status_list": {"idx": 1, "uri": "u"}, "y": 1}}, "member_unknown", "delegation.status", "y"),
        ({"status": {"status_list": {"idx": 1}}}, "member_missing", "delegation.status.status_list", "uri"),
        ({"status": signing.status(1) | {"x": {}}}, "member_unknown", "delegation.status", "x"),
        ({"status": {"status_list": {**ENTRY, "uri": ""}}}, "member_value", "delegation.status.status_list", "uri"),
        ({"status": {"status_list": {**ENTRY, "y": 1}}}, "member_unknown", "delegation.status.status_list", "y"),
        ({"may": signing.may(anything=1)}, "member_unknown", "delegation.may", "anything"),
        ({"may": signing.may(products=["a", "a"])}, "member_value", "delegation.may", "products"),
        ({"may": signing.may(features=["a b"])}, "member_value", "delegation.may", "features"),
        ({"may": signing.may(products=["a b"])}, "member_value", "delegation.may", "products"),
        ({"may": signing.may(tiers=["a b"])}, "member_value", "delegation.may", "tiers"),
        ({"may": signing.may(max_term_days=36_501)}, "member_value", "delegation.may", "max_term_days"),
        *[({"may": signing.may(slots=slots)}, "member_value", "delegation.may", "slots")
          for slots in BAD_SLOTS],
        *[({name: signing.DROP}, "member_missing", "delegation", name) for name in signing.delegation_claims()],
        *[({"may": signing.may(**{name: signing.DROP})}, "member_missing", "delegation.may", name)
          for name in signing.may()],
    ],
)  # fmt: skip
def test_what_a_delegation_must_say(changes: dict[str, Any], detail: str | None, where: str, name: str) -> None:
    with refused("json_float") if detail is None else refused(detail, where=where, name=name):
        read(**changes)


# ------------------------------------------------------------------------------------------------------------ narrowing


@pytest.mark.parametrize(
    ("name", "wider"),
    [
        ("products", frozenset({"opanel", "other"})),
        ("features", frozenset({"backup", "everything"})),
        ("tiers", frozenset({"enterprise"})),
        ("limits", {"accounts": 501}),
        ("limits", {}),
        ("limits", {"domains": 5}),
        ("max_term_days", 401),
        ("grace_days", 31),
        ("stale_days", 61),
        ("issue_until", signing.NOW + 365 * signing.DAY + 1),
        ("slots", Range(start=0, end=1001)),
        ("slots", Range(start=1000, end=1001)),
        ("depth", 2),
        ("status_range", Range(start=99, end=200)),
    ],
)
def test_wider_in_one_member_is_named(name: str, wider: Any) -> None:
    child = dataclasses.replace(PARENT, depth=1)
    assert within(child, PARENT) is None
    assert within(dataclasses.replace(child, **{name: wider}), PARENT) == name


def test_a_limit_of_ones_own_only_narrows() -> None:
    child = dataclasses.replace(PARENT, depth=1, limits={"accounts": 500, "domains": 9})
    assert within(child, PARENT) is None


names = st.frozensets(st.sampled_from("abc"), max_size=3)
small = st.integers(0, 3)
ranges = st.tuples(small, st.integers(1, 3)).map(lambda pair: Range(start=pair[0], end=pair[0] + pair[1]))
mays = st.builds(
    Permissions,
    products=names,
    features=names,
    tiers=names,
    limits=st.dictionaries(st.sampled_from("abc"), small, max_size=3),
    max_term_days=small,
    grace_days=small,
    stale_days=small,
    issue_until=small,
    slots=ranges,
    depth=small,
    status_range=ranges,
)


def allows(may: Permissions, name: str, asked: Any) -> bool:
    """Whether a `may` admits one license that asks for one thing: the meaning that `within` must preserve."""
    match name:
        case "products" | "features" | "tiers":
            return asked in getattr(may, name)
        case "limits":
            return all(limit in asked and asked[limit] <= most for limit, most in may.limits.items())
        case "slots" | "status_range":
            return asked in getattr(may, name)
        case "depth":
            return bool(asked < may.depth)  # a chain of that many more links below the child
        case _:
            return bool(asked <= getattr(may, name))


def questions(name: str) -> list[Any]:
    if name in ("products", "features", "tiers"):
        return list("abc")
    if name == "limits":
        counts = [None, 0, 1, 2, 3]
        return [
            {key: n for key, n in zip("abc", each, strict=True) if n is not None}
            for each in ((a, b, c) for a in counts for b in counts for c in counts)
        ]
    return list(range(8))


@settings(max_examples=60, deadline=None)
@given(mays, mays)
def test_within_is_the_pointwise_order(child: Permissions, parent: Permissions) -> None:
    """In every member: within iff whatever the child allows, the parent allows too (and a link uses up one depth)."""
    verdict = within(child, parent)
    wider = [
        name
        for name in (field.name for field in dataclasses.fields(Permissions))
        if name != "depth" and any(allows(child, name, q) and not allows(parent, name, q) for q in questions(name))
    ]
    if child.depth >= parent.depth:
        wider.append("depth")
    assert (verdict is None) == (not wider)
    assert verdict is None or verdict in wider


@settings(max_examples=60, deadline=None)
@given(mays, mays, mays)
def test_a_grandchild_is_within_its_grandparent(a: Permissions, b: Permissions, c: Permissions) -> None:
    if within(a, b) is None and within(b, c) is None:
        assert within(a, c) is None


@settings(max_examples=60, deadline=None)
@given(mays, st.data())
def test_narrowing_anywhere_stays_within(parent: Permissions, data: st.DataObject) -> None:
    """A child made from its parent by narrowing is within it, so that the property above is not vacuous."""
    if parent.depth == 0:
        return
    limits = {name: data.draw(st.integers(0, most)) for name, most in parent.limits.items()}
    child = dataclasses.replace(
        parent,
        features=frozenset(data.draw(st.sets(st.sampled_from(sorted(parent.features)))))
        if parent.features
        else frozenset(),
        limits=limits | data.draw(st.dictionaries(st.sampled_from("xyz"), small)),
        grace_days=data.draw(st.integers(0, parent.grace_days)),
        slots=Range(start=data.draw(st.integers(parent.slots.start, parent.slots.end - 1)), end=parent.slots.end),
        depth=data.draw(st.integers(0, parent.depth - 1)),
    )
    assert within(child, parent) is None
