"""A delegation: somebody names a key, and what licenses that key may sign.

Each link only narrower.

A child outside its parent is refused, never trimmed: the mistake must surface
where it was made. The comparison is `within`, member by member; it knows every
member of `may`, and an unknown one refuses the document before.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from opanel_agent.core.codec.reader import NAME, Members
from opanel_agent.core.documents.claims import (
    JTI,
    URI,
    Contact,
    Range,
    StatusRef,
    read_contact,
    read_days,
    read_range,
    read_span,
    read_status,
)
from opanel_agent.core.documents.controller import Controller, read_controller
from opanel_agent.core.documents.jws import Envelope, Typ
from opanel_agent.core.documents.keys import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """What a delegate may issue.

    A name that `limits` lacks is unlimited. `depth` counts the links allowed
    below.
    """

    products: frozenset[str]
    features: frozenset[str]
    tiers: frozenset[str]
    limits: Mapping[str, int]
    max_term_days: int
    grace_days: int
    stale_days: int
    issue_until: int
    slots: Range
    depth: int
    status_range: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """A verified delegation.

    `controller` is the reseller as the notice names him, where it does.
    """

    jti: str
    iss: str
    sub: str
    name: str
    contact: Contact
    controller: Controller | None
    key: PublicKey
    may: Permissions
    iat: int
    nbf: int
    exp: int
    status: StatusRef


def read(envelope: Envelope, keys: Mapping[str, PublicKey]) -> Delegation:
    """A delegation that one of the parent's `keys` signed.

    Whether it is within its parent, `bundle` asks.
    """
    claims = envelope.open(keys, Typ.DELEGATION)
    contact = claims.members("contact")
    confirmation = claims.members("cnf")  # RFC 7800 section 3.2
    nbf, exp = read_span(claims)
    delegation = Delegation(
        jti=claims.text("jti", pattern=JTI),
        iss=claims.text("iss"),
        sub=claims.text("sub", pattern=URI),
        name=claims.text("name"),
        contact=read_contact(contact),
        controller=read_controller(claims),
        key=PublicKey.from_jwk(confirmation.members("jwk")),
        may=_may(claims.members("may")),
        iat=claims.integer("iat"),
        nbf=nbf,
        exp=exp,
        status=read_status(claims),
    )
    for said in (contact, confirmation, claims):
        said.end()
    return delegation


def within(child: Permissions, parent: Permissions) -> str | None:
    """None where the child is within its parent in every member; else the first member that is wider."""
    narrower = {
        "products": child.products <= parent.products,
        "features": child.features <= parent.features,
        "tiers": child.tiers <= parent.tiers,
        "limits": limits_within(child.limits, parent.limits),
        "max_term_days": child.max_term_days <= parent.max_term_days,
        "grace_days": child.grace_days <= parent.grace_days,
        "stale_days": child.stale_days <= parent.stale_days,
        "issue_until": child.issue_until <= parent.issue_until,
        "slots": child.slots.within(parent.slots),
        "depth": child.depth < parent.depth,  # this link itself uses one up
        "status_range": child.status_range.within(parent.status_range),
    }
    return next((name for name, holds in narrower.items() if not holds), None)


def limits_within(child: Mapping[str, int], parent: Mapping[str, int]) -> bool:
    """A missing name is unlimited: a child states each of its parent's limits, no higher, and may state more."""
    return all(name in child and child[name] <= limit for name, limit in parent.items())


def _may(said: Members) -> Permissions:
    may = Permissions(
        products=said.texts("products", pattern=NAME),
        features=said.texts("features", pattern=NAME),
        tiers=said.texts("tiers", pattern=NAME),
        limits=said.integers("limits"),
        max_term_days=read_days(said, "max_term_days"),
        grace_days=read_days(said, "grace_days"),
        stale_days=read_days(said, "stale_days"),
        issue_until=said.integer("issue_until"),
        slots=read_range(said, "slots"),
        depth=said.integer("depth"),
        status_range=read_range(said, "status_range"),
    )
    said.end()
    return may
