"""Reads a delegation: a signed statement that names a key and what licenses that key may sign.

Delegations form a chain from the vendor to the reseller who signs licenses.
Each link may only narrow the one above it: fewer products, lower limits, a
shorter term. A delegation outside its parent is refused and never trimmed,
because the mistake must surface where it was made, not as a license that
permits less than it says.

`within` compares member by member. It knows every member of `may`, and an
unknown member refuses the document before that, so a newer permission cannot
slip past an older agent.

Left out: who signed whom (`core.documents.bundle`), and whether the
delegation's time has come (`core.license.verdict` asks only for its status).
"""

from collections.abc import Mapping

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
from opanel_agent.core.jose.jws import Envelope, Typ
from opanel_agent.core.jose.keys import PublicKey
from opanel_agent.core.values import frozen


@frozen
class Permissions:
    """Holds what a delegate may issue (`may`).

    Sets are exhaustive: what is not named is not permitted.

    - `products`, `features`, `tiers`: names that a license may have.
    - `limits`: the highest values by name; a name that is missing is unlimited.
    - `max_term_days`, `grace_days`, `stale_days`: the most that a license may
      have of each.
    - `issue_until`: the latest `iat` of a license, in seconds since 1970.
    - `slots`: the numbers that licenses may occupy; `status_range`: the entries
      of the status list that they may use, numbered through all shards.
    - `depth`: how many further delegations may follow this one.
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


@frozen
class Delegation:
    """Holds the claims of a verified delegation.

    Times in seconds since 1970.

    - `sub`: the delegate's URI, which is `iss` of what he signs; `iss`: who
      delegates.
    - `name`, `contact`: the delegate, as `status` shows him.
    - `controller`: the reseller as the privacy notice names him, None where the
      delegation does not say.
    - `key`: the one key that he signs with (`cnf`, RFC 7800 section 3.2).
    - `may`: what he may issue.
    - `status`: the delegation's own entry, so that a reseller can be revoked.
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
    """Returns a delegation that one of the parent's keys signed.

    `keys` are by thumbprint. Whether it is within its parent is asked by
    `bundle`, which knows the parent. Raises Untrusted as `Envelope.open` and
    the claims' readers do.
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
    for members in (contact, confirmation, claims):
        members.end()
    return delegation


def within(child: Permissions, parent: Permissions) -> str | None:
    """Returns the name of the first member in which the child is wider than its parent, None where it is within it.

    `depth` must be strictly less, because this link itself uses one up.
    """
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
    """Tells whether a child states each of its parent's limits, none higher.

    It may state more of its own.

    A name that a mapping lacks is unlimited, so a child that leaves out one of
    its parent's limits is wider.
    """
    return all(name in child and child[name] <= limit for name, limit in parent.items())


def _may(members: Members) -> Permissions:
    """Returns the permissions.

    A member that this version does not know refuses the document: it might
    widen them.
    """
    may = Permissions(
        products=members.texts("products", pattern=NAME),
        features=members.texts("features", pattern=NAME),
        tiers=members.texts("tiers", pattern=NAME),
        limits=members.integers("limits"),
        max_term_days=read_days(members, "max_term_days"),
        grace_days=read_days(members, "grace_days"),
        stale_days=read_days(members, "stale_days"),
        issue_until=members.integer("issue_until"),
        slots=read_range(members, "slots"),
        depth=members.integer("depth"),
        status_range=read_range(members, "status_range"),
    )
    members.end()
    return may
